"""What can go wrong with Replicate, switched on by name."""

from __future__ import annotations

import threading
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, TypeAdapter

Route = Literal["create", "get", "list", "cancel", "secret", "output"]
Hint = Literal["body", "header", "ratelimit"]

Kind = Literal[
    # A response, on the route that `on` names.
    "refuse",  # answers `status` and does nothing; a 429 resets in `seconds`, which `hints` tell
    "low_credit",  # one create each `apart` seconds (1, documented; 10, seen under $5) and six each `minute` (60)
    "accepted",  # does it, then answers 202
    "cut",  # does it, then closes the connection without an answer; an output is cut in the middle
    "hang",  # does it, then waits `seconds` before it answers
    "bad_gateway",  # does it, then answers `gateway_status` with a page of HTML
    "no_json",  # does it, then answers with the right status and a page of HTML
    "drop_fields",  # does it, and leaves `fields` out of the answer
    "malformed_row",  # the list begins with a row that no client's model fits
    "echo",  # answers and webhooks hold what Replicate was seen to send and its schema does not promise: `UNPROMISED`
    "web_row",  # the list begins with a prediction that was made on Replicate's website
    "list_lag",  # the list lacks the predictions of the last `seconds`
    # A prediction.
    "slow_start",  # stays `starting` for `seconds`
    "slow_run",  # stays `processing` for `seconds`
    "fail",  # fails with `error`
    "abort",  # ends as `aborted`, as if its deadline had passed before it started
    "output_null",  # succeeds with no output
    "output_list",  # a list where the model gives a string, and the other way round
    # A finished picture, when it is fetched.
    "output_oversized",  # goes on, after the picture, up to `size` bytes; without a length when `chunked`
    "output_redirect",  # 302 to `url`
    "output_html",  # a page of HTML under the picture's content type
    "output_token",  # answers `status`, 401 or 403, to a request without the right token
    # A webhook.
    "drop_webhook",  # is not sent, nor tried again
    "delay_webhook",  # is sent `seconds` later
    "duplicate_webhook",  # the terminal one is sent `copies` times more
    "reorder_webhooks",  # `processing` is told again after the end
    "forge_webhook",  # before the terminal one comes one that says `failed`, signed with another key
    "unsign_webhook",  # the same without a signature
    "stale_webhook",  # the same, well signed ten minutes ago
    "rotate_secret",  # the signing secret is another one from the next terminal webhook on
]


class Fault(BaseModel):
    """One thing that goes wrong, for the events that it matches: `skip` of them pass first, then `times` are hit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    on: Route = "create"  # only for the faults of a response
    skip: NonNegativeInt = 0
    times: PositiveInt | None = None  # None is every one
    status: int = Field(default=503, ge=400, le=599)
    seconds: NonNegativeFloat = 10
    # What a 429 tells besides `detail`, which is all that Replicate documents. Seen: `status` and `retry_after` in the
    # body, and the headers ratelimit-remaining and ratelimit-reset. Possible: the header Retry-After.
    hints: tuple[Hint, ...] = ()
    retry_after: int | float | str | None = None  # what `body` and `header` tell; None is the truth
    apart: NonNegativeFloat = 1
    minute: NonNegativeFloat = 60
    gateway_status: int = Field(default=502, ge=500, le=599)
    fields: tuple[str, ...] = ("version", "model", "urls", "output")
    error: str = (
        "The input or output was flagged as sensitive. Please try again with different inputs. (E005) (NSFW)"
    )
    copies: PositiveInt = 1
    size: PositiveInt = 60 * 2**20  # bytes
    chunked: bool = False
    url: str = "http://169.254.169.254/latest/meta-data/"


FAULTS = TypeAdapter(tuple[Fault, ...])


class Faults:
    """The faults that are on. Safe to use from many threads."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._lock = threading.Lock()
        self.set(faults)

    def set(self, faults: tuple[Fault, ...]) -> None:
        """Put `faults` in the place of all that are on."""
        with self._lock:
            self._seen = [(fault, [0]) for fault in faults]

    def all(self) -> tuple[Fault, ...]:
        """The faults that are on, used up or not."""
        with self._lock:
            return tuple(fault for fault, _ in self._seen)

    def take(self, kind: Kind, on: Route = "create") -> Fault | None:
        """Count one event that faults of this kind match, and give the fault that hits it, if one does."""
        hit: Fault | None = None
        with self._lock:
            for fault, seen in self._seen:
                if (fault.kind, fault.on) != (kind, on):
                    continue
                seen[0] += 1
                past = seen[0] - fault.skip
                if hit is None and past > 0 and (fault.times is None or past <= fault.times):
                    hit = fault
        return hit

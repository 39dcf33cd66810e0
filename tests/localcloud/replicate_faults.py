"""The faults of the stand-in for Replicate, each switched on by its name."""

from __future__ import annotations

import threading
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, TypeAdapter

from tests.support.replicate.api import Route
from tests.support.replicate.refusals import Hint

Kind = Literal[
    # A response, on the route that `on` names.
    "refuse",  # answers `status` and does nothing; a 429 ends after `seconds`, which `hints` announce
    "low_credit",  # one create every `apart` seconds (1 documented; 10 seen under $5) and six every `minute` seconds
    "accepted",  # executes the request, then answers 202
    "cut",  # executes the request, then closes the connection without an answer; cuts an output in the middle
    "hang",  # executes the request, then waits `seconds` before the answer
    "bad_gateway",  # executes the request, then answers `gateway_status` with an HTML page
    "no_json",  # executes the request, then answers with the normal status and an HTML page
    "drop_fields",  # executes the request, and omits `fields` from the answer
    "malformed_row",  # the list begins with a row that no client's model can parse
    "echo",  # answers and webhooks hold fields that Replicate sends although its schema lacks them: `webhook` and others
    "web_row",  # the list begins with a prediction that was made on Replicate's website
    "list_lag",  # the list lacks the predictions of the last `seconds`
    # A prediction.
    "slow_start",  # stays `starting` for `seconds`
    "slow_run",  # stays `processing` for `seconds`
    "fail",  # fails with `error`
    "abort",  # ends as `aborted`, as if its deadline had passed before its start
    "output_null",  # succeeds without an output
    "output_list",  # returns a list if the model returns a string, and a string if it returns a list
    # A download of an output.
    "output_oversized",  # appends bytes to the output up to `size`; sends no length if `chunked`
    "output_redirect",  # answers 302 to `url`
    "output_html",  # answers with an HTML page under the output's content type
    "output_token",  # answers `status`, 401 or 403, to a request without the right token
    # A webhook.
    "drop_webhook",  # is never sent
    "delay_webhook",  # is sent `seconds` later
    "duplicate_webhook",  # the terminal one is sent `copies` more times
    "reorder_webhooks",  # one with the status `processing` is sent after the end
    "forge_webhook",  # one with the status `failed` and a signature by another key is sent before the terminal one
    "unsign_webhook",  # as `forge_webhook`, but without a signature
    "stale_webhook",  # as `forge_webhook`, but with a valid signature that is ten minutes old
    "rotate_secret",  # the signing secret changes before the next terminal webhook
]


class Fault(BaseModel):
    """A fault. Of the events that it matches, it skips the first `skip` and hits the next `times`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    on: Route = "create"  # for the faults of a response only
    skip: NonNegativeInt = 0
    times: PositiveInt | None = None  # None is every one
    status: int = Field(default=503, ge=400, le=599)
    seconds: NonNegativeFloat = 10
    hints: tuple[Hint, ...] = ()  # of a 429
    retry_after: int | float | str | None = (
        None  # the value in the hints `body` and `header`; None is the true one
    )
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
    """The active faults. Safe to use from many threads."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._lock = threading.Lock()
        self.set(faults)

    def set(self, faults: tuple[Fault, ...]) -> None:
        """Replace the active faults."""
        with self._lock:
            self._seen = [(fault, [0]) for fault in faults]

    def all(self) -> tuple[Fault, ...]:
        """Return the active faults, including those that are used up."""
        with self._lock:
            return tuple(fault for fault, _ in self._seen)

    def take(self, kind: Kind, on: Route = "create") -> Fault | None:
        """Count one event for the faults of this kind; return the fault that hits it, or None."""
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

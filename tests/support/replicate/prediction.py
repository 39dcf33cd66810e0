"""A prediction: its states, and the object that the API and the webhooks send. Times are nanoseconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic import JsonValue

    from tests.support.replicate.creation import Event, Request
    from tests.support.replicate.refusals import Json

Status = Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"]

SECOND = 10**9  # nanoseconds
EPOCH = datetime.fromtimestamp(0, UTC)
# https://replicate.com/docs/topics/predictions/lifecycle. `aborted` is a deadline that passes before the start. All
# states that are missing here are final.
MOVES: dict[Status, tuple[Status, ...]] = {
    "starting": ("processing", "canceled", "aborted"),
    "processing": ("succeeded", "failed", "canceled"),
}


def nanoseconds(moment: datetime) -> int:
    """Return a time in nanoseconds since the epoch, exactly: a float would be off by hundreds of them."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def timestamp(at: int) -> str:
    """Return the time in RFC 3339, in UTC with nine fractional digits, as Replicate writes it."""
    seconds, fraction = divmod(at, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


@dataclass(eq=False)
class Prediction:
    """A prediction of an account."""

    id: str
    model: str
    version: str
    input: Json
    created: int
    webhook: str | None = None
    events: tuple[Event, ...] | None = None
    expires: int | None = None  # the deadline, if Cancel-After set one
    started: int | None = None
    completed: int | None = None
    status: Status = "starting"
    output: str | list[str] | None = None
    error: str | None = None
    logs: str = ""
    data_removed: bool = False
    request: Request | None = None  # that created it
    odd: dict[str, object] = field(default_factory=dict)  # a test's values, instead of the true ones

    @property
    def billed(self) -> bool:
        """An aborted prediction and one that is canceled before its start cost nothing."""
        return self.started is not None

    def move(self, status: Status, now: int) -> bool:
        """Change the state, unless the prediction has ended. Return whether it did.

        Raises:
            ValueError: A prediction cannot make this move.
        """
        if self.completed is not None:
            return False
        if status not in MOVES[self.status]:
            raise ValueError(f"{self.id} cannot go from {self.status} to {status}")
        self.status = status
        if status == "processing":
            self.started = now
        else:
            self.completed = now
        return True

    def view(self, base: str, *, echoes: bool) -> Json:
        """Return the prediction object of the API at `base`.

        Args:
            base: The URL of the API.
            echoes: Include what Replicate sends although the schema of replicate 2.0.0b4 lacks it.
        """
        metrics: Json = {}
        if self.completed is not None:
            metrics["total_time"] = (self.completed - self.created) / SECOND
            if self.started is not None:
                metrics["predict_time"] = (self.completed - self.started) / SECOND
        output: JsonValue = list(self.output) if isinstance(self.output, list) else self.output
        data: Json = {"input": self.input, "logs": self.logs, "output": output}
        removed: Json = {"input": {}, "logs": "", "output": None}
        times = {
            "started_at": self.started,
            "completed_at": self.completed,
            "deadline": self.expires,
        }
        view: Json = {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            **(removed if self.data_removed else data),
            "data_removed": self.data_removed,
            "error": self.error,
            "status": self.status,
            "created_at": timestamp(self.created),
            **{name: timestamp(time) for name, time in times.items() if time is not None},
            "metrics": metrics,
            "urls": {
                "get": f"{base}/v1/predictions/{self.id}",
                "cancel": f"{base}/v1/predictions/{self.id}/cancel",
                "web": f"https://replicate.com/p/{self.id}",
            },
        }
        if echoes:
            view["source"] = "api"
            if self.webhook is not None:
                view["webhook"] = self.webhook
            if self.events is not None:
                view["webhook_events_filter"] = list(self.events)
        odd = {name: value for name, value in self.odd.items() if echoes or name != "webhook"}
        return {**view, **odd}  # type: ignore[dict-item]  # a test's values may be no JSON

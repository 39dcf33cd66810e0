"""How long recent jobs took: one item for each model, beside the jobs.

An item has PLACES places, and each write overwrites one of them at random. So nothing is read before a write, writers
need not agree, and old jobs fade away.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from pynamodb.exceptions import PynamoDBException
from pynamodb.expressions.operand import Path, Value

from triptych.aws import table
from triptych.estimates import PLACES, estimate
from triptych.job import JobStatus
from triptych.runtime import clock
from triptych.runtime.observability import logger
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from triptych.estimates import Estimate
    from triptych.job import Job

WRITE_SECONDS = 10  # between two writes of one process for one model: a crowd costs no more than a few jobs
READ_SECONDS = 30  # for which a process keeps what it has read
KEEP_DAYS = 90


@dataclass
class _Process:
    """What this process has written and read, by model, with the monotonic time until which that is enough."""

    written: dict[str, float] = field(default_factory=dict)
    read: dict[str, tuple[float, Estimate | None]] = field(default_factory=dict)


def note(job: Job) -> None:
    """Keep how long a job took that has succeeded. An estimate is worth no retry, so a failure is only logged."""
    if job.status is not JobStatus.SUCCEEDED or not job.started_at or not job.ended_at:
        return
    model, now = _model(job), clock.monotonic()
    if now < _process().written.get(model, 0):
        return
    _process().written[model] = now + WRITE_SECONDS
    seconds = round((job.ended_at - job.started_at).total_seconds(), 1)
    place = random.randrange(PLACES)  # noqa: S311  # not a secret
    expires_at = clock.now() + timedelta(days=KEEP_DAYS)
    actions = [
        Path(f"place_{place}").set(Value(seconds)),
        Path("expires_at").set(Value(int(expires_at.timestamp()))),
    ]
    try:
        table.connection().update_item(_key(model), actions=actions)
    except PynamoDBException as error:
        logger.warning("duration not kept", reason=type(error).__name__)


def expected(job: Job) -> Estimate | None:
    """Return how long jobs of this job's model took recently; None if too few are known."""
    model, now = _model(job), clock.monotonic()
    until, known = _process().read.get(model, (0, None))
    if now >= until:
        known = _read(model)
        _process().read[model] = (now + READ_SECONDS, known)
    return known


def _read(model: str) -> Estimate | None:
    try:
        item = table.connection().get_item(_key(model)).get("Item", {})
    except PynamoDBException as error:
        logger.warning("durations not read", reason=type(error).__name__)
        return None
    return estimate([float(value["N"]) for name, value in item.items() if name.startswith("place_")])


def _model(job: Job) -> str:
    return job.request.model or settings().replicate_model


def _key(model: str) -> str:
    return f"durations {model}"


@once
def _process() -> _Process:
    return _Process()

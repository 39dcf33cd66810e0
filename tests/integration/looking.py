"""Has the watchdog look at a job."""

from __future__ import annotations

from types import SimpleNamespace

import watchdog
from tests.support.events import sqs_event
from tests.support.world import World
from triptych.aws import queues


def handle(message: queues.WatchdogMessage, context: SimpleNamespace, *, receives: int = 1) -> None:
    """Have the watchdog handle a message."""
    event = sqs_event(message.model_dump_json(), receives=receives)
    assert watchdog.handler(event, context) == {"batchItemFailures": []}


def look(world: World, job_id: str, context: SimpleNamespace, *, receives: int = 1) -> None:
    """Have the watchdog look at this job now."""
    message = queues.WatchdogMessage(job_id=job_id, born_at=world.job(job_id).watched_since)
    handle(message, context, receives=receives)

"""Has the watchdog look at a job."""

from __future__ import annotations

from types import SimpleNamespace

import watchdog
from tests.support.events import sqs_event
from tests.support.world import World
from triptych.aws import queues


def handle(message: queues.WatchdogMessage, context: SimpleNamespace) -> None:
    """Have the watchdog handle a message."""
    assert watchdog.handler(sqs_event(message.model_dump_json()), context) == {"batchItemFailures": []}


def look(world: World, job_id: str, context: SimpleNamespace) -> None:
    """Have the watchdog look at this job now."""
    handle(queues.WatchdogMessage(job_id=job_id, born_at=world.job(job_id).watched_since), context)

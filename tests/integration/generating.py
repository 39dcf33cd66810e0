"""Invokes the generate function and names its two answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import generate
from tests.support.events import s3_notification, sqs_event
from tests.support.world import World

DONE: dict[str, Any] = {"batchItemFailures": []}  # SQS deletes the message
KEPT = {"batchItemFailures": [{"itemIdentifier": "m1"}]}  # SQS delivers the message again


def deliver(world: World, job_id: str, context: SimpleNamespace, receives: int = 1) -> dict[str, Any]:
    """Invoke generate with the S3 event of the job's photo."""
    return dict(generate.handler(sqs_event(s3_notification(job_id), receives=receives), context))

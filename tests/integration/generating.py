"""Invokes the generate function, names its two answers, and fails the images of a job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import generate
from tests.support.events import s3_notification, sqs_event
from tests.support.world import World
from triptych.failures import FailureKind
from triptych.flows import record
from triptych.job import ImageFailed

DONE: dict[str, Any] = {"batchItemFailures": []}  # SQS deletes the message
KEPT = {"batchItemFailures": [{"itemIdentifier": "m1"}]}  # SQS delivers the message again


def deliver(world: World, job_id: str, context: SimpleNamespace, receives: int = 1) -> dict[str, Any]:
    """Invoke generate with the S3 event of the job's photo."""
    return dict(generate.handler(sqs_event(s3_notification(job_id), receives=receives), context))


def fail_all(world: World, job_id: str, *why: FailureKind) -> None:
    """Fail every image of the job, each for its own reason or all for one."""
    job = world.job(job_id)
    kinds = why * len(job.images) if len(why) == 1 else why
    events = [
        ImageFailed(image.index, image.attempt, image.prediction_id or "", kind)
        for image, kind in zip(job.images, kinds, strict=True)
    ]
    assert record.move_on(job, *events).written

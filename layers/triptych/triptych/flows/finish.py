"""Finishing what no webhook finished, and ending what cannot be finished."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from triptych.aws import bucket, queues
from triptych.deadlines import deadline, upload_deadline
from triptych.failures import FailureKind
from triptych.flows import collect, generate
from triptych.job import (
    DeadlinePassed,
    Event,
    Image,
    ImageFailed,
    ImageStatus,
    Job,
    JobRejected,
    OutputStored,
    UploadArrived,
    UploadExpired,
)
from triptych.replicate import predictions
from triptych.replicate.downloads import OutputUnavailable
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailable
from triptych.runtime import clock
from triptych.runtime.budget import within
from triptych.runtime.observability import count, logger, unexpected
from triptych.settings import settings

LOOK_SECONDS = 32.0  # of the function's 40: what a copy may take when nothing else did
HOPELESS_SECONDS = 600  # for as long S3 may fail to say whether the photo is there

SEEN_BY = timedelta(seconds=generate.UNANSWERED_SECONDS)  # a prediction that was made is known by then


def finish(job: Job) -> Job | None:
    """Do for a job that has not ended what can be done now, and return it as it then is; None where it has been deleted."""
    return _finish(job) if job.uploaded_at else _upload(job)


def _upload(job: Job) -> Job | None:
    try:
        seen = bucket.look_at(job.photo.key)
    except (BotoCoreError, ClientError):
        if clock.now() < upload_deadline(job) + timedelta(seconds=HOPELESS_SECONDS):
            raise
        unexpected("the upload cannot be looked for")
        seen = None
    if seen:
        return _found(job, seen)
    if clock.now() >= upload_deadline(job):
        return collect.settle(job, [UploadExpired()])
    return job


def _found(job: Job, seen: bucket.Look) -> Job | None:
    """The photo is there, and nobody has opened it: its event was lost, or whoever opens it dies of it.

    Opening it is `generate`'s work alone: only there is the memory for it.
    """
    arrived = UploadArrived(job.photo.key, seen.size, seen.stored_at)
    end = seen.stored_at + timedelta(seconds=settings().generation_deadline_seconds)
    if clock.now() >= end:
        # Rejected, not late: no later try may give the model a photo that nobody has looked at.
        return collect.settle(job, [arrived, JobRejected(FailureKind.PHOTO_UNOPENABLE)])
    logger.warning("the upload's event was lost, or its photo could not be opened")
    count("UploadsFound")
    queues.send_to_generation(job.job_id, job.photo.key, again=True)
    return job


def _finish(job: Job) -> Job | None:
    if clock.now() < deadline(job):
        advanced, events = _learn(job, last=False)
        return collect.settle(advanced, events) if advanced else None
    try:
        advanced, events = _learn(job, last=True)
    except Exception:  # noqa: BLE001  # whatever it is, it must not stand in the way of the end
        unexpected("the last look failed")
        advanced, events = job, []
    if advanced is None:
        return None
    after = collect.settle(advanced, [*events, DeadlinePassed()])
    learnt = {event.index for event in events if isinstance(event, OutputStored | ImageFailed)}
    for image in advanced.having(ImageStatus.GENERATING):
        if image.prediction_id and image.index not in learnt:
            predictions.cancel(image.prediction_id)  # it would run on for nothing, and be billed
    return after


def _learn(job: Job, *, last: bool) -> tuple[Job | None, list[Event]]:
    """Settle doubts and ask for what is pending; then see what has become of those that ran before this look.

    `last`: there will be no other look, so that a picture that cannot be fetched now is lost.
    """
    started = clock.now()
    give_up_at = time.monotonic() + LOOK_SECONDS
    advanced = generate.advance(job)
    running = advanced.having(ImageStatus.GENERATING) if advanced else []
    before = [image for image in running if image.asked_at is None or image.asked_at < started]
    if advanced is None or not before:
        return advanced, []
    asks = [partial(_ask_about, advanced, image, give_up_at, last=last) for image in before]
    found = within(max(1.0, give_up_at - time.monotonic()), asks)
    return advanced, [event for event in found if event]


def _ask_about(job: Job, image: Image, give_up_at: float, *, last: bool) -> Event | None:
    prediction_id = image.prediction_id or ""
    try:
        prediction = predictions.get(prediction_id)
        if prediction is None and not last and image.asked_at and clock.now() < image.asked_at + SEEN_BY:
            return None
        if prediction is None:
            return ImageFailed(image.index, image.attempt, prediction_id, FailureKind.PREDICTION_LOST)
        tag = Tag(job.job_id, image.index, image.attempt)
        return collect.outcome(job, tag, prediction, max(1.0, give_up_at - time.monotonic()))
    except OutputUnavailable as error:
        logger.warning("no output", prediction_id=prediction_id, reason=str(error))
        lost = ImageFailed(image.index, image.attempt, prediction_id, FailureKind.OUTPUT_UNAVAILABLE)
        return lost if last else None
    except ReplicateUnavailable as error:
        logger.warning("nothing learnt", prediction_id=prediction_id, reason=str(error))
        return None
    except Exception:  # noqa: BLE001  # one image's trouble is not the others'
        unexpected("nothing learnt", prediction_id=prediction_id)
        return None

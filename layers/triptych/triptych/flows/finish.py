"""Finish what no webhook finished, and end what cannot be finished."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from triptych.aws import bucket, queues
from triptych.deadlines import deadline, upload_deadline
from triptych.failures import FailureKind
from triptych.flows import collect, generate, record
from triptych.job import (
    DeadlinePassed,
    EnteredAgain,
    Event,
    Image,
    ImageFailed,
    ImageStatus,
    Job,
    OutputBroken,
    OutputStored,
    UploadArrived,
    UploadExpired,
    waits_in_line,
)
from triptych.pace import Pace
from triptych.replicate import predictions
from triptych.replicate.downloads import OutputBrokenError, OutputUnavailableError
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime import clock
from triptych.runtime.observability import count, logger, unexpected
from triptych.settings import settings

if TYPE_CHECKING:
    from triptych.runtime.budget import TimeBudget

MIN_COPY_SECONDS = 1.0
HOPELESS_SECONDS = 600  # how long S3 may fail to answer whether the photo is there

# Replicate knows every prediction that exists by then.
SEEN_BY = timedelta(seconds=generate.UNANSWERED_SECONDS)


def finish(job: Job, budget: TimeBudget, *, fatal: bool = False) -> Job | None:
    """Do what can be done now for a job that has not ended.

    Args:
        job: The job.
        budget: What is left of the look's time. Copies of outputs end with it.
        fatal: Looks at the job have killed their processes again and again. At its deadline it ends without another look.

    Returns:
        The job as it is then; None if it has been deleted.
    """
    if waits_in_line(job) and clock.now() < deadline(job):
        entered = _enter_again(job)
        if entered is None or not entered.has_photo:
            return entered
        job = entered
    return _finish(job, budget, fatal=fatal) if job.has_photo else _upload(job)


def _enter_again(job: Job) -> Job | None:
    """Put a job that has waited in line for long at its end: its message may be lost.

    Each time it waits twice as long as before. The new message takes the place of an earlier one that is not lost.
    """
    if job.started_at is None:
        return job
    now, last = clock.now(), job.entered_again_at or job.started_at
    patience = max(timedelta(seconds=settings().watchdog_delay_seconds), last - job.started_at)
    if now < last + patience:
        return job
    # The message comes first. If this look dies before the write, a later one sends another message.
    queues.send_to_waiting(job.job_id, job.photo.key, job.owner, entered_at=now)
    return record.move_on(job, EnteredAgain(now)).job


def _upload(job: Job) -> Job | None:
    try:
        seen = bucket.look_at(job.photo.key)
    except (BotoCoreError, ClientError):
        if clock.now() < _end_of_upload(job) + timedelta(seconds=HOPELESS_SECONDS):
            raise
        unexpected("S3 does not say whether the photo is there")
        return _end_unopened(job, clock.now())  # the photo may be there, so the job has not expired
    if seen:
        return _found(job, seen)
    if clock.now() < _end_of_upload(job):
        return job
    # A photo that was there before a retry, but is gone, has not expired as an upload.
    return record.move_on(job, DeadlinePassed(job.retries) if job.uploaded_at else UploadExpired()).job


def _end_of_upload(job: Job) -> datetime:
    return deadline(job) if job.started_at else upload_deadline(job)


def _found(job: Job, seen: bucket.Look) -> Job | None:
    """Pass on a photo that is there and has not been opened: its event was lost, or opening it killed the function.

    Only `generate` opens photos, because only it has the memory.
    """
    end = (job.started_at or seen.stored_at) + timedelta(seconds=settings().generation_deadline_seconds)
    if clock.now() >= end:
        return _end_unopened(job, seen.stored_at)  # late, and not the photo's fault
    logger.warning("the event of the upload was lost, or the photo could not be opened")
    count("UploadsFound")
    queues.send_to_generation(job.job_id, job.photo.key, again=True)
    return job


def _end_unopened(job: Job, uploaded_at: datetime) -> Job | None:
    """End a job whose photo was not opened in time. A retry inspects it first."""
    arrived = UploadArrived(job.photo.key, uploaded_at, inspected=False)
    return record.move_on(job, arrived, DeadlinePassed(job.retries)).job


def _finish(job: Job, budget: TimeBudget, *, fatal: bool) -> Job | None:
    if clock.now() < deadline(job):
        advanced, events = _learn(job, budget, last=False)
        return collect.store(advanced, *events).job if advanced else None
    # What a fatal look leaves at Replicate, a retry asks for.
    advanced, events = (job, []) if fatal else _learn(job, budget, last=True)
    if advanced is None:
        return None
    after = record.move_on(advanced, *events, DeadlinePassed(job.retries)).job
    if after and after.retries != job.retries:
        return after  # the retry may have asked for the same predictions
    learnt = {event.index for event in events if isinstance(event, OutputStored | ImageFailed)}
    # These would run on and be billed.
    predictions.cancel_all(
        [
            image.prediction_id
            for image in advanced.having(ImageStatus.GENERATING)
            if image.prediction_id and image.index not in learnt
        ]
    )
    return after


def _learn(job: Job, budget: TimeBudget, *, last: bool) -> tuple[Job | None, list[Event]]:
    """Settle doubts and create pending predictions; then get the results of those that ran before this look.

    Args:
        job: The job.
        budget: What is left of the look's time, for copies of outputs.
        last: No other look follows, so an output that cannot be fetched now is lost.

    Returns:
        The job as it is then, and what happened to it, which is not stored yet.
    """
    started = clock.now()
    advanced = job if waits_in_line(job) and not last else _advanced(job, last=last)
    if advanced is None or advanced.retries != job.retries:
        return advanced, []
    running = advanced.having(ImageStatus.GENERATING)
    before = [image for image in running if image.asked_at is None or image.asked_at < started]
    if not before:
        return advanced, []
    budget = budget.at_least(MIN_COPY_SECONDS)
    found = budget.run([partial(_result, advanced, image, budget, last=last) for image in before])
    return advanced, [event for event in found if event]


def _advanced(job: Job, *, last: bool) -> Job | None:
    try:
        return generate.advance(job, pace=Pace())
    except Exception:
        if not last:
            raise
        unexpected("the doubts are not settled")  # the results of the other predictions are paid for
        return job


def _is_another_look(job: Job) -> bool:
    """Return whether the job's last change is half as long ago as looks are apart. SQS may deliver a look twice."""
    now = clock.now()
    watched = (now - (job.started_at or job.created_at)).total_seconds()
    apart = min(settings().watchdog_delay_seconds, watched / 2)
    return now >= job.updated_at + timedelta(seconds=apart / 2)


def _result(job: Job, image: Image, budget: TimeBudget, *, last: bool) -> Event | None:
    prediction_id = image.prediction_id or ""
    try:
        prediction = predictions.get(prediction_id)
        too_new = image.asked_at is not None and clock.now() < image.asked_at + SEEN_BY
        if budget.is_spent or (prediction is None and too_new):
            return None
        if prediction is None:
            lost = FailureKind.PREDICTION_LOST
            return ImageFailed(image.index, image.attempt, prediction_id, lost, job.retries)
        tag = Tag(job.job_id, image.index, image.attempt)
        return collect.result(job, tag, prediction, budget)
    except OutputUnavailableError as error:
        logger.warning("no output", prediction_id=prediction_id, reason=str(error))
        broken = OutputBroken(image.index, image.attempt, prediction_id)
        unavailable = FailureKind.OUTPUT_UNAVAILABLE
        missed = ImageFailed(image.index, image.attempt, prediction_id, unavailable, job.retries)
        counts = isinstance(error, OutputBrokenError) and (image.broken == 0 or _is_another_look(job))
        return missed if last else broken if counts else None
    except ReplicateUnavailableError as error:
        logger.warning("the prediction cannot be read", prediction_id=prediction_id, reason=str(error))
        return None
    except Exception:  # noqa: BLE001  # a failure of one image must not affect the others
        unexpected("the prediction cannot be read", prediction_id=prediction_id)
        return None

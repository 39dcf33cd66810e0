"""Finishing what no webhook finished, and ending what cannot be finished."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from triptych import clock, completion, generation, pictures, predictions, table
from triptych.downloads import OutputUnavailable
from triptych.job import (
    DeadlinePassed,
    Event,
    Failure,
    Image,
    ImageFailed,
    ImageStatus,
    Job,
    OutputStored,
    UploadExpired,
)
from triptych.observability import about, count, logger
from triptych.predictions import Tag
from triptych.settings import settings

BIRTH_SECONDS = 60  # the message is sent before the job is stored; no create takes longer than this
SLOW_UPLOAD_SECONDS = 300  # the link may be used in its last second, and the photo be large
HOPELESS_SECONDS = 600  # for as long S3 may fail to say whether the photo is there

LOST = Failure("prediction_lost", "Replicate no longer knows of this picture.")


def look(job_id: str, born_at: datetime) -> int | None:
    """Look at a job, and do for it what is to be done.

    Args:
        job_id: the job.
        born_at: when its first watchdog message was sent.

    Returns:
        in how many seconds to look again, or None: the job has ended, or is no more.
    """
    about(job_id)
    job = table.get(job_id)
    if job is None:
        unborn = clock.now() < born_at + timedelta(seconds=BIRTH_SECONDS)
        return settings().watchdog_delay_seconds if unborn else None
    if job.status.is_terminal:
        return None
    count("WatchdogLooks")
    after = _finish(job) if job.uploaded_at else _upload(job)
    return None if after is None or after.status.is_terminal else _next_look(after)


def _upload(job: Job) -> Job | None:
    try:
        seen = pictures.look_at(job.photo.key)
    except (BotoCoreError, ClientError):
        if clock.now() < _upload_deadline(job) + timedelta(seconds=HOPELESS_SECONDS):
            raise
        logger.exception("the upload cannot be looked for")
        seen = None
    if seen:
        logger.warning("the upload's event was lost")
        return generation.begin(job, job.photo.key, seen)
    if clock.now() >= _upload_deadline(job):
        return completion.settle(job, [UploadExpired()])
    return job


def _finish(job: Job) -> Job | None:
    if clock.now() < generation.deadline(job):
        advanced, events = _learn(job)
        return completion.settle(advanced, events) if advanced else None
    try:
        advanced, events = _learn(job)
    except Exception:  # noqa: BLE001  # whatever it is, it must not stand in the way of the end
        logger.exception("the last look failed")
        advanced, events = job, []
    if advanced is None:
        return None
    after = completion.settle(advanced, [*events, DeadlinePassed()])
    learnt = {event.index for event in events if isinstance(event, OutputStored | ImageFailed)}
    for image in advanced.having(ImageStatus.GENERATING):
        if image.prediction_id and image.index not in learnt:
            predictions.cancel(image.prediction_id)  # it would run on for nothing, and be billed
    return after


def _learn(job: Job) -> tuple[Job | None, list[Event]]:
    """Settle doubts and ask for what is pending; then see what has become of those that ran before this look."""
    started = clock.now()
    advanced = generation.advance(job)
    running = advanced.having(ImageStatus.GENERATING) if advanced else []
    before = [image for image in running if image.asked_at is None or image.asked_at < started]
    if advanced is None or not before:
        return advanced, []
    with ThreadPoolExecutor(max_workers=len(before)) as pool:
        found = pool.map(lambda image: _ask_about(advanced, image), before)
        return advanced, [event for event in found if event]


def _ask_about(job: Job, image: Image) -> Event | None:
    prediction_id = image.prediction_id or ""
    try:
        prediction = predictions.get(prediction_id)
        if prediction is None:
            return ImageFailed(image.index, image.attempt, prediction_id, LOST)
        tag = Tag(job.job_id, image.index, image.attempt)
        return completion.outcome(job.job_id, tag, prediction)
    except (
        predictions.ReplicateUnavailable,
        OutputUnavailable,
        BotoCoreError,
        ClientError,
        OSError,
    ) as error:
        logger.warning(
            "nothing learnt",
            job_id=job.job_id,
            prediction_id=prediction_id,
            reason=str(error) or type(error).__name__,
        )
        return None


def _upload_deadline(job: Job) -> datetime:
    life = settings().upload_url_seconds
    return job.created_at + timedelta(seconds=life + min(life, SLOW_UPLOAD_SECONDS))


def _next_look(job: Job) -> int:
    end = generation.deadline(job) if job.uploaded_at else _upload_deadline(job)
    left = (end - clock.now()).total_seconds()
    return max(1, min(settings().watchdog_delay_seconds, int(left) + 1))

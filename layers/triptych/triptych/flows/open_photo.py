"""Open a photo that has arrived: inspect it, prepare a copy for the model, and pass its job on to `generate`.

A photo may kill the function that opens it. So every try but the first one is counted before it starts.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import IO, TYPE_CHECKING

from triptych.aws import bucket
from triptych.failures import FailureKind
from triptych.flows import generate, preview, record
from triptych.job import (
    Event,
    Job,
    JobRejected,
    PhotoLeft,
    PhotoOpened,
    PhotoPreviewed,
    UploadArrived,
    apply_all,
)
from triptych.photo import bounded
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import about_job, logger, unexpected
from triptych.settings import settings

if TYPE_CHECKING:
    from datetime import datetime

    from triptych.pace import Pace
    from triptych.photo.inspection import Finding

TRY_OVER_SECONDS = 70  # longer than the timeout of the function that opens photos
LEAVING_SECONDS = 8.0
LEAVING_AGAIN_SECONDS = 1.0


def photo_arrived(job_id: str, key: str, pace: Pace, *, again: bool = False) -> Job | None:
    """Inspect a photo that has arrived in S3, and create the predictions for its job.

    Repeating it is harmless. If there is no such job or photo, or the photo is another job's, that is logged only.

    Args:
        job_id: The job.
        key: Where the photo lies.
        pace: What this process knows about Replicate's limit.
        again: This is not the first try. Something may have killed the function the last time. That should not have been
            the photo, but it may have been, so the try is counted before the photo is opened. A first try is not counted,
            which saves a write.

    Returns:
        The job, or None if there is nothing to do.
    """
    job = job_of(job_id, key)
    if job is None or job.status.is_terminal:
        return job
    if job.has_photo:
        return generate.advance(job, pace=pace)
    return _look_at_photo(job, key, pace, again=again)


def job_of(job_id: str, key: str) -> Job | None:
    """Read the job of a photo. A photo that was uploaded after its job was deleted is removed.

    Returns:
        The job, or None if there is none or the photo is another job's. That is logged.
    """
    about_job(job_id)
    job = record.read(job_id)
    if not bucket.is_upload_of(key, job_id) or (job and key != job.photo.key):
        logger.warning("not this job's photo")
        return None
    if job is None:
        logger.warning("no such job")
        # Only a stored job gets an upload URL. An upload that ends after the watchdog's clean-up is known here alone.
        bucket.remove(key)
    return job


def _look_at_photo(job: Job, key: str, pace: Pace, *, again: bool) -> Job | None:
    with bucket.fetch_photo(key, settings().max_upload_bytes) as upload:
        if upload is None:
            logger.warning("no such photo")
            return None
        arrived = UploadArrived(key, upload.stored_at)
        if upload.file is None:
            return _reject(job, arrived, FailureKind.PHOTO_TOO_LARGE)
        if not again:
            return _use(_inspect(upload.file, job), upload.file, job, pace, arrived)
        now = clock.now()
        # The fraction of a second marks this try: the answer to the write below can be lost.
        until = now + timedelta(seconds=TRY_OVER_SECONDS, microseconds=-secrets.randbelow(generate.MARKS))
        try:
            counted = record.move_on(job, PhotoOpened(now, until, upload.stored_at)).job
            is_own = counted and counted.photo.opening_until == until
            if counted is None or counted.has_photo or counted.status.is_terminal or not is_own:
                # Deleted, already inspected, opened too often, or being opened by another invocation.
                return counted
            finding = _inspect(upload.file, counted)
            return _use(finding, upload.file, counted, pace, arrived, PhotoLeft(until))
        except bounded.StuckError:  # counts: the photo may be the reason
            raise
        except Exception:
            # The photo did not kill this invocation. Only a death counts.
            _leave(job.job_id, until)
            raise


def _leave(job_id: str, until: datetime) -> None:
    """Do not count a try to open the photo that ended with an error. DynamoDB may be the reason, so try again for a while."""
    budget = TimeBudget(LEAVING_SECONDS)
    while True:
        try:
            job = record.read(job_id)
            if job:
                record.move_on(job, PhotoLeft(until))
        except Exception:  # noqa: BLE001  # the caller raises its own
            if budget.is_spent:
                unexpected("an error while a photo was opened counts as a death")
                return
            clock.sleep(LEAVING_AGAIN_SECONDS)
        else:
            return


def _inspect(file: IO[bytes], job: Job) -> Finding:
    from triptych.photo import inspection  # noqa: PLC0415  # slow to import, and most invocations open no photo

    announced, limits = job.request.content_type, settings()
    return inspection.inspect(
        file, announced, max_pixels=limits.max_photo_pixels, max_edge=limits.max_photo_edge
    )


def _use(
    finding: Finding,
    file: IO[bytes],
    job: Job,
    pace: Pace,
    arrived: UploadArrived,
    left: PhotoLeft | None = None,
) -> Job | None:
    from triptych.photo import inspection  # noqa: PLC0415  # as above

    prepared: inspection.Prepared | None = None
    match finding:
        case inspection.Rejected(failure):
            return _reject(job, arrived, failure)
        case inspection.Prepared():
            prepared = finding
        case inspection.Ready():
            pass
    # A death in what follows is not the photo's: S3 may be slow.
    opened = record.move_on(job, left).job if left else job
    if opened is None:  # deleted meanwhile; an earlier try may have stored its copy after the clean-up
        bucket.remove_made_of(arrived.key, bucket.prepared_key(job.job_id) if prepared else None)
        return None
    if prepared:
        logger.info("prepared", size=len(prepared.jpeg))
        arrived = replace(arrived, prepared_key=bucket.store_prepared(job.job_id, prepared.jpeg))

    @cache
    def previewed() -> tuple[Event, ...]:
        made = preview.of_photo(arrived.key, file, prepared)
        return (PhotoPreviewed(made),) if made else ()

    after = generate.advance(opened, arrived, pace=pace, meanwhile=previewed)
    if after and not after.status.is_terminal:
        after = record.move_on(after, *previewed()).job  # written only if no prediction was created
    if after is None:  # the job has been deleted meanwhile
        bucket.remove_made_of(arrived.key, arrived.prepared_key)
    return after


def _reject(job: Job, arrived: UploadArrived, failure: FailureKind) -> Job | None:
    """End the job because of its photo, unless another invocation has accepted that: limits of time and memory are near."""

    def rejected(current: Job) -> Job:
        if current.has_photo:
            return current
        return apply_all(current, [arrived, JobRejected(failure)], clock.now())

    return record.update(job, rejected).job

"""Create a job: its record, and the first message for the watchdog."""

from __future__ import annotations

import uuid

from triptych import job_ids
from triptych.aws import bucket, counts, queues, table
from triptych.deadlines import day_of
from triptych.flows import record
from triptych.job import Job, JobRequest, JobStatus, new_job
from triptych.runtime import clock
from triptych.runtime.observability import about_job
from triptych.settings import settings
from triptych.spending import (
    LimitReachedError,
    Limits,
    Order,
    StacksDayFullError,
    entry_of,
    refuse_oversized,
)

MOST_REMEMBERED = 1000
EVERYBODY = ""  # no owner has this name
# Owners whose last order in this process was refused, and EVERYBODY if the stack's day was full.
_refused: set[str] = set()


class PhotoGoneError(Exception):
    """The photo of the other job is not in S3: it has not arrived, or it is deleted."""


class KeyUsedError(Exception):
    """The owner has used this idempotency key for another request."""


def earlier_job(owner: str, idempotency_key: str | None) -> Job | None:
    """Return the job that the owner has created with this key.

    Raises:
        KeyUsedError: It was deleted a short time ago. No limit counts such an order, so it must cost no message.
    """
    if not idempotency_key:
        return None
    try:
        return record.read_keyed(_keyed_id(owner, idempotency_key))
    except table.BlockedError:
        raise KeyUsedError from None


def _keyed_id(owner: str, idempotency_key: str) -> str:
    return job_ids.keyed(settings().bucket, owner, idempotency_key)  # S3 gives a bucket's name only once


def create_job(
    owner: str,
    request: JobRequest,
    idempotency_key: str | None,
    *,
    source: Job | None = None,
    earlier: Job | None = None,
) -> Job:
    """Create a job. If the owner has made the same request with the same key before, return that job as it is now.

    Args:
        owner: Whose job it is.
        request: What is asked for.
        idempotency_key: The client's key, if it sent one.
        source: The job whose photo is used, if none is uploaded.
        earlier: The job that the owner has created with the key.

    Raises:
        KeyUsedError: The key was used for another request.
        PhotoGoneError: The photo of `source` is not there.
        OversizedError: The order alone exceeds a daily limit.
        LimitReachedError: The order exceeds a limit.
        table.ContendedError: Too many jobs at once.
    """
    job_id = _keyed_id(owner, idempotency_key) if idempotency_key else str(uuid.uuid4())
    about_job(job_id)
    job = new_job(
        job_id=job_id,
        owner=owner,
        request=request,
        photo_key=bucket.photo_key(job_id, request.content_type),
        image_count=len(request.images) or request.image_count or settings().image_count,
        now=clock.now(),
    )
    if earlier:
        return _with_photo(_same(earlier, request), source)
    # The source's own record may lag behind its upload. This job inspects its copy of the photo itself.
    if source and not bucket.look_at(source.photo.key):
        raise PhotoGoneError
    order = order_of(job)
    refuse_oversized(order)
    # A refused order costs no message: only the first one in each process does. To check each order would cost a read.
    if not _refused.isdisjoint({owner, EVERYBODY}):
        counts.check(order)
        _refused.difference_update({owner, EVERYBODY})
    # The message comes first. If the process were killed after storing the job, no watchdog would ever look at it.
    group = queues.group_of(owner)
    message = queues.WatchdogMessage(job_id=job_id, born_at=job.created_at, group=group)
    queues.send_to_watchdog(message, delay=settings().first_look_seconds)
    try:
        return _with_photo(record.create(job, order), source)
    except LimitReachedError as refused:
        if len(_refused) >= MOST_REMEMBERED:
            _refused.clear()
        _refused.add(EVERYBODY if isinstance(refused, StacksDayFullError) else owner)
        raise
    except table.ConflictError:  # the same key at the same time
        winner = record.read(job_id)
        if winner is None:
            raise KeyUsedError from None  # for a job that has been deleted
        return _with_photo(_same(winner, request), source)


def _with_photo(job: Job, source: Job | None) -> Job:
    """Copy the photo of `source` to where the job's photo is awaited. S3 announces it like an upload."""
    awaits = job.status is JobStatus.AWAITING_UPLOAD
    if source and awaits and not bucket.copy_photo(source.photo.key, job.photo.key):
        raise PhotoGoneError  # deleted in this moment; the watchdog ends the new job
    return job


def order_of(job: Job) -> Order:
    """Return what the job's creation or last retry may spend, with the stack's limits."""
    return Order(
        owner=job.owner,
        entry=entry_of(job),
        day=day_of(job.watched_since),
        pictures=job.counted,
        limits=limits(),
    )


def limits() -> Limits:
    """Return the stack's limits."""
    given = settings()
    return Limits(
        pictures_of_owner=given.daily_pictures_per_owner,
        pictures=given.daily_pictures,
        active_jobs=given.max_active_jobs_per_owner,
    )


def _same(job: Job, request: JobRequest) -> Job:
    if job.request != request:
        raise KeyUsedError
    return job

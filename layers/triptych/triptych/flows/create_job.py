"""Create a job: its record, and the first message for the watchdog."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from triptych import job_ids
from triptych.aws import bucket, queues, table
from triptych.flows import record
from triptych.job import Job, JobRequest, new_job
from triptych.runtime import clock
from triptych.runtime.observability import about_job
from triptych.settings import settings


class KeyUsedError(Exception):
    """The owner has used this idempotency key for another request."""


def create_job(owner: str, request: JobRequest, idempotency_key: str | None) -> Job:
    """Create a job. If the owner has made the same request with the same key before, return that job as it is now.

    Raises:
        KeyUsedError: The key was used for another request.
        table.DayFullError: The owner's day has reached its limit.
        table.ContendedError: Too many jobs at once.
    """
    job_id = job_ids.keyed(owner, idempotency_key) if idempotency_key else str(uuid.uuid4())
    about_job(job_id)
    job = new_job(
        job_id=job_id,
        owner=owner,
        request=request,
        photo_key=bucket.photo_key(job_id, request.content_type),
        image_count=settings().image_count,
        now=clock.now(),
    )
    earlier = record.read(job_id) if idempotency_key else None
    if earlier:
        return _same(earlier, request)
    # The message comes first. If the process were killed after storing the job, no watchdog would ever look at it.
    message = queues.WatchdogMessage(job_id=job_id, born_at=job.created_at)
    queues.send_to_watchdog(message, delay=settings().first_look_seconds)
    try:
        return record.create(job, owners_day(job.created_at))
    except table.ConflictError:  # the same key at the same time
        winner = record.read(job_id)
        if winner is None:
            raise KeyUsedError from None  # for a job that has been deleted
        return _same(winner, request)


def owners_day(now: datetime) -> table.Day:
    """Return the day, with its limit, for which a job counts that is created or retried now."""
    return table.Day(now.astimezone(settings().timezone).date(), settings().daily_job_limit)


def seconds_to_the_next_day(now: datetime) -> int:
    """Return how long an owner whose day is full has to wait."""
    here = now.astimezone(settings().timezone)
    tomorrow = (here + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((tomorrow - here).total_seconds()) + 1


def _same(job: Job, request: JobRequest) -> Job:
    if job.request != request:
        raise KeyUsedError
    return job

"""The deadlines of a job: when it ends whatever happens, and until when its photo may arrive. The days of the stack."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from triptych.settings import settings

if TYPE_CHECKING:
    from datetime import date, datetime

    from triptych.job import Job

SLOW_UPLOAD_SECONDS = 300  # how long an upload may take


def deadline(job: Job) -> datetime:
    """Return when the job ends, whatever happens."""
    return (job.started_at or job.created_at) + timedelta(seconds=settings().generation_deadline_seconds)


def upload_urls_end(job: Job) -> datetime:
    """Return until when upload URLs of the job are valid: an upload that broke off can be repeated with a new one."""
    return job.created_at + timedelta(seconds=settings().upload_url_seconds) + _slow_upload()


def upload_deadline(job: Job) -> datetime:
    """Return until when the photo may arrive: a large upload may start in the last second of its URL."""
    return upload_urls_end(job) + _slow_upload()


def _slow_upload() -> timedelta:
    return timedelta(seconds=min(settings().upload_url_seconds, SLOW_UPLOAD_SECONDS))


def longest_life() -> timedelta:
    """Return how long a job may be unfinished after its creation or a retry, and one hour."""
    life = settings().upload_url_seconds + 2 * SLOW_UPLOAD_SECONDS + settings().generation_deadline_seconds
    return timedelta(seconds=life, hours=1)


def expires_at(job: Job) -> datetime:
    """Return when the job's record may vanish. Its photo and outputs do not vanish earlier."""
    return job.created_at + timedelta(days=settings().retention_days)


def upload_url_seconds(job: Job, now: datetime) -> int:
    """Return how long an upload URL made `now` is valid. 0: there is no new URL any more, only uploads under way."""
    left = int((upload_urls_end(job) - now).total_seconds())
    return max(0, min(settings().upload_url_seconds, left))


def day_of(time: datetime) -> date:
    """Return the day, in the stack's time zone, for which an order of this time counts."""
    return time.astimezone(settings().timezone).date()


def next_day(now: datetime) -> datetime:
    """Return when the next day of the stack's time zone begins, in UTC: a day may have 23 or 25 hours."""
    tomorrow = now.astimezone(settings().timezone) + timedelta(days=1)
    return tomorrow.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def seconds_to_the_next_day(now: datetime) -> int:
    """Return how long an owner whose day is full has to wait."""
    return int((next_day(now) - now).total_seconds()) + 1

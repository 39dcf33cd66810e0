"""When a job ends, whatever happens; and until when its photo may come."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from triptych.settings import settings

if TYPE_CHECKING:
    from datetime import datetime

    from triptych.job import Job

SLOW_UPLOAD_SECONDS = 300


def deadline(job: Job) -> datetime:
    """When the job ends, whatever happens."""
    return (job.started_at or job.created_at) + timedelta(seconds=settings().generation_deadline_seconds)


def upload_deadline(job: Job) -> datetime:
    """Until when the photo may come: the link may be used in its last second, and the photo be large."""
    life = settings().upload_url_seconds
    return job.created_at + timedelta(seconds=life + min(life, SLOW_UPLOAD_SECONDS))


def upload_url_seconds(job: Job, now: datetime) -> int:
    """How long an upload URL made `now` is valid: its configured life, but not past the upload's deadline."""
    left = int((upload_deadline(job) - now).total_seconds())
    return max(1, min(settings().upload_url_seconds, left))

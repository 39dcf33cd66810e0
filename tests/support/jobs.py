"""Jobs as values, for tests of the rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from triptych.job import Image, Job, JobRequest, UploadArrived, apply, new_job

START = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Return the time so many seconds after `START`."""
    return START + timedelta(seconds=seconds)


def waiting_job(images: int = 3) -> Job:
    """Return a job, created at `START`, that waits for its photo."""
    request = JobRequest(content_type="image/jpeg", size=10)
    photo_key = "uploads/j/photo.jpg"
    return new_job(
        job_id="j", owner="ann", request=request, photo_key=photo_key, image_count=images, now=START
    )


def uploaded_job(images: int = 3) -> Job:
    """Return a job whose photo arrived at `START` and was inspected."""
    return apply(waiting_job(images), UploadArrived("uploads/j/photo.jpg", START), START)


def job_of(*images: Image) -> Job:
    """Return a job whose photo arrived at `START`, with these images."""
    return replace(uploaded_job(len(images)), images=images)

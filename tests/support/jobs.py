"""Jobs as values, for tests of the rules."""

from __future__ import annotations

from datetime import UTC, datetime

from triptych.job import Job, Photo, new_job

START = datetime(2026, 11, 24, 12, tzinfo=UTC)


def waiting_job(images: int = 3) -> Job:
    """Return a job, created at `START`, that waits for its photo."""
    photo = Photo("uploads/j/photo.jpg", "image/jpeg", 10)
    return new_job(job_id="j", owner="ann", photo=photo, prompt=None, image_count=images, now=START)

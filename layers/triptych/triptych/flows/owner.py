"""What an owner may still want of a job: that it is tried again, stopped, or forgotten."""

from __future__ import annotations

from triptych.aws import bucket, queues, table
from triptych.flows import cleanup, create
from triptych.job import Canceled, Job, Retried, apply, has_used_its_retries
from triptych.runtime import clock
from triptych.runtime.observability import count, logger
from triptych.settings import settings


class RetriesUsed(Exception):  # noqa: N818  # an answer
    """The job was retried as often as a job may be."""


def retry(job: Job) -> Job | None:
    """Retry the failed images, and count that as one job of the owner's day.

    Where no image can be tried again, nothing happens and nothing is counted.

    Returns:
        the job as it is now, or None where it has been deleted meanwhile.

    Raises:
        RetriesUsed: the job has no retry left.
        table.LimitReached: the owner's day is full.
        table.Contended: too many at once.
    """
    event = Retried(at=clock.now())
    if has_used_its_retries(job):
        raise RetriesUsed
    if apply(job, event, event.at) is job:
        return job
    day = create.owners_day(event.at)
    # Before the message, so that a day that is full sends none. Where others fill it from here on, the transaction
    # refuses; the watchdog ignores a message that no write has confirmed.
    table.check(job.owner, day)
    # The watchdog first, as at birth; where another retry is faster, its message is the one that counts.
    message = queues.WatchdogMessage(job_id=job.job_id, born_at=event.at)
    queues.send_to_watchdog(message, delay=settings().first_look_seconds)
    after, _ = table.record(job, event, day=day)
    if after and after.retried_at == event.at:
        queues.send_to_generation(after.job_id, after.photo.key)
        logger.info("job retried")
    return after


def cancel(job: Job) -> Job | None:
    """Stop a job; what is stored stays. The watchdog cancels its predictions, at once. None: it has been deleted."""
    if job.status.is_terminal:
        return job
    after, _ = table.record(job, Canceled())
    if after:
        message = queues.WatchdogMessage(job_id=job.job_id, born_at=after.watched_since)
        queues.send_to_watchdog(message, delay=0)
    return after


def delete(job: Job) -> None:
    """Forget a job: its record, its photo and its pictures are gone when this returns.

    The watchdog cancels what still runs, and removes what still arrives. It is told first, and ends what a crash in
    between leaves undone.
    """
    left = cleanup.left_running(job)
    message = queues.WatchdogMessage(job_id=job.job_id, born_at=clock.now(), left=left)
    queues.send_to_watchdog(message, delay=0)
    cleanup.delete_record(job.job_id)
    bucket.remove_all(job.job_id)
    logger.info("job deleted")
    count("JobsDeleted")

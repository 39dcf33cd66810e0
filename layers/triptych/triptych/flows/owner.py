"""The owner retries, cancels or deletes a job."""

from __future__ import annotations

from datetime import timedelta

from triptych.aws import bucket, counts, queues
from triptych.deadlines import expires_at
from triptych.flows import cleanup, create_job, record
from triptych.job import (
    Canceled,
    ImageStatus,
    Job,
    JobStatus,
    Retried,
    apply,
    has_used_its_attempts,
    has_used_its_retries,
)
from triptych.runtime import clock
from triptych.runtime.observability import logger
from triptych.settings import settings
from triptych.spending import refuse_oversized

# Until the watchdog asks for the output of an earlier prediction. The retry is stored by then.
RECLAIM_SECONDS = 2
CANCELED_SECONDS = 1  # until the watchdog cancels the predictions. The cancellation is stored by then.


class RetriesUsedError(Exception):
    """The job has been retried as often as a job may be."""


class AttemptsUsedError(Exception):
    """No failed image of the job has an attempt left."""


class NothingToRetryError(Exception):
    """The job has no failed image that a retry may help."""


class TooOldError(Exception):
    """The job's record or photo could vanish before the retry ends."""


def retry(job: Job) -> Job | None:
    """Retry the failed images. Each of them counts toward the limits.

    If images are being generated, nothing changes and nothing is counted: perhaps another retry was faster.

    Returns:
        The job as it is now, or None if it has been deleted meanwhile.

    Raises:
        RetriesUsedError: The job has no retries left.
        AttemptsUsedError: The failed images have no attempts left.
        NothingToRetryError: No image has failed, or the photo was rejected, or it has not arrived.
        TooOldError: The job expires too soon.
        OversizedError: The retry alone exceeds a daily limit.
        LimitReachedError: The retry exceeds a limit.
        table.ContendedError: Too many jobs at once.
    """
    event = Retried(at=clock.now())
    if has_used_its_retries(job):
        raise RetriesUsedError
    if has_used_its_attempts(job):
        raise AttemptsUsedError
    retried = apply(job, event, event.at)
    if retried is job:
        if job.status is JobStatus.GENERATING:
            return job
        raise NothingToRetryError
    if event.at + timedelta(seconds=settings().generation_deadline_seconds) >= expires_at(job):
        raise TooOldError
    order = create_job.order_of(retried)
    refuse_oversized(order)
    # A refused retry sends no message. If other orders reach a limit after this check, the transaction refuses the write,
    # and the watchdog ignores the message.
    counts.check(order)
    # The message comes first, as in `create`. If another retry is faster, only its message counts.
    group = queues.group_of(job.owner)
    message = queues.WatchdogMessage(job_id=job.job_id, born_at=event.at, group=group)
    reclaims = bool(retried.having(ImageStatus.GENERATING, ImageStatus.REQUESTING))
    delay = RECLAIM_SECONDS if reclaims else settings().first_look_seconds
    queues.send_to_watchdog(message, delay=delay)

    def rule(current: Job) -> Job:
        # The order counts what this retry of this job may make. Another retry was faster if the version differs.
        return apply(current, event, event.at) if current.version == job.version else current

    after = record.update(job, rule, order=order).job
    if after and after.retried_at == event.at:
        queues.send_to_generation(after.job_id, after.photo.key)
        logger.info("job retried")
    return after


def cancel(job: Job) -> Job | None:
    """Cancel a job; stored images stay. The watchdog cancels its predictions at once. None: it has been deleted."""
    if job.status.is_terminal:
        return job
    _send_cancellation(job)
    after = record.move_on(job, Canceled()).job
    if after and after.watched_since != job.watched_since:  # it was retried meanwhile
        _send_cancellation(after)
    return after


def _send_cancellation(job: Job) -> None:
    # The message comes first, as in `retry`: a crash after the write would leave the predictions to the next look.
    message = queues.WatchdogMessage(
        job_id=job.job_id,
        born_at=job.watched_since,
        canceled_at=clock.now(),
        group=queues.group_of(job.owner),
    )
    queues.send_to_watchdog(message, delay=CANCELED_SECONDS)


def delete(job: Job) -> None:
    """Delete a job: its record, its photo and its outputs are gone when this returns.

    The watchdog cancels predictions that still run and removes objects that still arrive. Its message is sent first, so
    that it also completes a deletion that a crash has cut off. If another invocation has moved the job on meanwhile, the
    deletion starts again: the message must name every prediction that runs.
    """
    current: Job | None = job
    while current:
        queues.send_to_watchdog(cleanup.deletion(current), delay=0)
        current = record.delete(current)
    bucket.remove_all(job.job_id)

"""The one place that moves a job on: it reads, applies the rules, writes, counts, and removes orphaned outputs.

`aws.table` and `aws.counts` store whatever they are given, and `job.apply` knows nothing of storage. Both meet here only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from triptych import job_ids
from triptych.aws import bucket, counts, table
from triptych.flows import costs
from triptych.job import Event, Job, OutputStored, apply_all
from triptych.metrics import ended, figures
from triptych.runtime import clock
from triptych.runtime.observability import count, logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from triptych.spending import Order

GONE_DAYS = 2  # longer than any webhook or list of Replicate's can still name a deleted job
MOST_RACES = 100  # lost in a row: far more invocations than work on one job


@dataclass(frozen=True, slots=True)
class Change:
    """The result of an attempt to move a job on."""

    before: Job | None  # as it was read last
    job: Job | None  # as it is stored now; None if the job has been deleted

    @property
    def written(self) -> bool:
        """Whether this invocation changed the job."""
        return self.job is not self.before


def read(job_id: str) -> Job | None:
    """Return the job as it is now, or None if there is none."""
    return table.get(job_id)


def read_keyed(job_id: str) -> Job | None:
    """As `read`, for an id that an idempotency key has produced.

    Raises:
        table.BlockedError: Its job was deleted a short time ago.
    """
    return table.get_keyed(job_id)


def page(
    owner: str, *, limit: int, cursor: str | None, wanted: Callable[[Job], bool] | None
) -> tuple[list[Job], str | None]:
    """Return a page of the owner's jobs, and the cursor of the next one, as `table.list_jobs` does."""
    return table.list_jobs(owner, limit=limit, cursor=cursor, wanted=wanted)


def create(job: Job, order: Order) -> Job:
    """Store a new job and count its order; return it with its version.

    Raises:
        table.ConflictError, LimitReachedError, table.ContendedError: As `counts.create` does.
    """
    stored = counts.create(job, order)
    logger.info("job created")
    count("JobsCreated")
    return stored


def move_on(job: Job, *events: Event, order: Order | None = None) -> Change:
    """Apply `events` to the job and store the result, whatever other invocations write at the same time.

    An output in `events` that no image keeps, because the job has ended or is gone, is removed from S3. So is one from
    before a retry: it may lie where another copy of it lies, which is just being removed.

    Args:
        job: The job as it was read.
        events: What happened to it.
        order: If given, it is counted with the write.

    Raises:
        table.ConflictError, LimitReachedError, table.ContendedError: As `counts.put` does.
    """

    def rule(current: Job) -> Job:
        was_retried = current.retries != job.retries
        kept = [event for event in events if not (was_retried and isinstance(event, OutputStored))]
        return apply_all(current, kept, clock.now())

    change = update(job, rule, order=order)
    for stored in (event for event in events if isinstance(event, OutputStored)):
        kept = change.job.images[stored.index].output if change.job else None
        if kept is None or kept.key != stored.output.key:
            bucket.remove_output(stored.output)
    return change


def update(
    job: Job, rule: Callable[[Job], Job], *, order: Order | None = None, races: int = MOST_RACES
) -> Change:
    """Store what `rule` makes of the job. After a lost race, read the job again and apply `rule` again.

    Nothing is written if `rule` returns the very job that it was given.

    Args:
        job: The job as it was read.
        rule: Applied once for each write. It may ask others and send messages that do no harm, but must change nothing.
        order: If given, it is counted with the write.
        races: How many writes may lose a race.

    Raises:
        table.ConflictError: All of them did.
        LimitReachedError, table.ContendedError: As `counts.put` does.
    """
    for _ in range(races):
        after = rule(job)
        if after is job:
            return Change(job, job)
        try:
            stored = counts.put(after, order) if order else table.put(after)
        except table.ConflictError:
            again = table.get(job.job_id)
            if again is None:
                return Change(None, None)
            job = again
        else:
            _count(job, stored)
            return Change(job, stored)
    raise table.ConflictError(job.job_id)


def delete(job: Job) -> Job | None:
    """Delete the job's record if it is as it was read. A keyed id stays blocked for GONE_DAYS.

    Returns:
        None if the record is gone. Otherwise the job as it is now: another invocation changed it first. It may have more
        predictions, so the caller looks at it again.
    """
    blocked = clock.now() + timedelta(days=GONE_DAYS) if job_ids.is_keyed(job.job_id) else None
    try:
        table.delete(job, until=blocked)
    except table.ConflictError:
        return table.get(job.job_id)
    logger.info("job deleted")
    count("JobsDeleted")
    return None


def _count(before: Job, after: Job) -> None:
    for name, value in figures(before, after):
        count(name, value)
        if name == "PredictionsAdopted":
            costs.count_cost(value)
    if ended(before, after):
        logger.info("job ended", status=after.status)

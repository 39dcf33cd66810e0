"""A job's birth: its record, its watchdog, and the place where its photo shall lie."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from triptych.aws import bucket, queues, table
from triptych.job import Job, Photo, new_job
from triptych.runtime import clock
from triptych.runtime.observability import about, count, logger
from triptych.settings import settings

KEYED = 8  # the version of the ids that come of a key, as RFC 9562 has it for ids of one's own making


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks for."""

    owner: str
    content_type: str
    size: int  # bytes
    checksum_sha256: str | None
    prompt: str | None


class KeyUsed(Exception):  # noqa: N818  # the caller's doing, not ours
    """The owner has used this idempotency key for another order."""


def create_job(order: Order, idempotency_key: str | None) -> Job:
    """A new job; or, where the owner has ordered the same under the same key before, that job as it is now.

    Raises:
        KeyUsed: the key was used for something else.
        table.LimitReached: the owner's day is full.
        table.Contended: too many at once.
    """
    job_id = _job_id(order.owner, idempotency_key)
    about(job_id)
    job = new_job(
        job_id=job_id,
        owner=order.owner,
        photo=Photo(
            bucket.photo_key(job_id, order.content_type),
            order.content_type,
            order.size,
            order.checksum_sha256,
        ),
        prompt=order.prompt,
        image_count=settings().image_count,
        now=clock.now(),
    )
    earlier = table.get(job_id) if idempotency_key else None
    if earlier:
        return _same(earlier, order)
    # The watchdog first: were the job stored first and this process killed, nobody would ever look at it.
    message = queues.WatchdogMessage(job_id=job_id, born_at=job.created_at)
    queues.send_to_watchdog(message, delay=settings().first_look_seconds)
    try:
        day = owners_day(job.created_at)
        created = table.create(job, day=day.date, daily_limit=day.limit)
    except table.Conflict:  # the same key, at the same time
        winner = table.get(job_id)
        if winner is None:
            raise KeyUsed from None  # for a job that has been deleted
        return _same(winner, order)
    logger.info("job created")
    count("JobsCreated")
    return created


def owners_day(now: datetime) -> table.Day:
    """The day that a job counts for which is created or retried now, with its limit."""
    return table.Day(now.astimezone(settings().timezone).date(), settings().daily_job_limit)


def seconds_to_the_next_day(now: datetime) -> int:
    """How long an owner whose day is full has to wait."""
    here = now.astimezone(settings().timezone)
    tomorrow = (here + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((tomorrow - here).total_seconds()) + 1


def _job_id(owner: str, idempotency_key: str | None) -> str:
    """An id that nobody has; with a key, always the same for the same owner and key, so that one write decides."""
    if idempotency_key is None:
        return str(uuid.uuid4())
    digest = hashlib.sha256(f"{len(owner)}:{owner}{idempotency_key}".encode()).digest()
    return str(uuid.UUID(int=int.from_bytes(digest[:16]) & ~(0xF << 76) | KEYED << 76))


def is_keyed(job_id: str) -> bool:
    """Whether an idempotency key would bring forth this id again."""
    return uuid.UUID(job_id).int >> 76 & 0xF == KEYED


def _same(job: Job, order: Order) -> Job:
    photo = job.photo
    made_for = Order(job.owner, photo.content_type, photo.size, photo.checksum_sha256, job.prompt)
    if made_for != order:
        raise KeyUsed
    return job

"""What an order may spend: predictions in a day, of its owner and of the whole stack, and jobs at the same time.

An order is the creation or a retry of a job. It counts every prediction that it may create before it creates any. When
its job has ended, it gives back those that provably were not created. Nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from triptych.job import Image, Job

CLOCKS = timedelta(seconds=1)  # by which the clocks of two functions may differ
# How often an owner may order the pictures of a day. Those that were given back count here: without this, orders that are
# canceled again and again would cost only the operator.
MOST_TIMES = 10


class OversizedError(Exception):
    """The order has more pictures than a day may have, so no day has room for it."""


class LimitReachedError(Exception):
    """The order is refused: it would exceed a limit."""


class OwnersDayFullError(LimitReachedError):
    """The owner would have more predictions today than an owner may have."""


class OrderedTooOftenError(LimitReachedError):
    """The owner would have ordered too many pictures today, with those that were given back."""


class StacksDayFullError(LimitReachedError):
    """All owners together would have more predictions today than the stack may have."""


class TooManyActiveError(LimitReachedError):
    """The owner has as many unfinished jobs as an owner may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a stack. 0 is none."""

    pictures_of_owner: int = 0
    pictures: int = 0
    active_jobs: int = 0

    @property
    def ordered_by_owner(self) -> int:
        """The pictures that an owner may order in a day, with those that are given back."""
        return MOST_TIMES * self.pictures_of_owner

    @property
    def pictures_of_order(self) -> int | None:
        """The most pictures of one order. None: the daily limits allow any number."""
        return min(filter(None, (self.pictures_of_owner, self.pictures)), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The creation or a retry of a job."""

    owner: str
    entry: str  # of the job among its owner's active jobs
    day: date  # in the stack's time zone
    pictures: int  # predictions that it may create
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Spent:
    """What an owner, or the whole stack, has spent."""

    pictures: Mapping[str, int] = field(default_factory=dict)  # by the day, in ISO 8601
    active: frozenset[str] = frozenset()  # entries of unfinished jobs
    ordered: Mapping[str, int] = field(default_factory=dict)  # as `pictures`, with those that were given back

    def on(self, day: date) -> int:
        return self.pictures.get(day.isoformat(), 0)

    def in_month_of(self, day: date) -> int:
        month = f"{day:%Y-%m}-"
        return sum(count for one, count in self.pictures.items() if one.startswith(month))

    def stale(self, now: datetime, longest: timedelta) -> frozenset[str]:
        """Return the entries of jobs that must have ended: none is unfinished for longer than `longest`."""
        return frozenset(entry for entry in self.active if _began(entry) < now - longest)


def entry_of(job: Job) -> str:
    """Return the job's entry among its owner's active jobs. A retry makes another one.

    It is short, because all entries of an owner lie in one item.
    """
    return f"{int(job.watched_since.timestamp() * 1000):x}-{job.job_id[:8]}"


def refuse_oversized(order: Order) -> None:
    """Check an order against the daily limits alone, whatever was spent.

    Raises:
        OversizedError: It exceeds one of them on every day.
    """
    most = order.limits.pictures_of_order
    if most is not None and order.pictures > most:
        raise OversizedError(order.owner)


def refuse(order: Order, owner: Spent, stack: Spent) -> None:
    """Check an order against what was spent.

    Raises:
        LimitReachedError: The order exceeds a limit.
    """
    limits = order.limits
    if limits.active_jobs and len(owner.active - {order.entry}) >= limits.active_jobs:
        raise TooManyActiveError(order.owner)
    if limits.pictures_of_owner and owner.on(order.day) + order.pictures > limits.pictures_of_owner:
        raise OwnersDayFullError(order.owner)
    ordered = owner.ordered.get(order.day.isoformat(), 0) + order.pictures
    if limits.ordered_by_owner and ordered > limits.ordered_by_owner:
        raise OrderedTooOftenError(order.owner)
    if limits.pictures and stack.on(order.day) + order.pictures > limits.pictures:
        raise StacksDayFullError(order.owner)


def balance(job: Job) -> int:
    """Return how many pictures too many the job's last order has counted, once the job has ended.

    An image counts once, unless it provably has no prediction. If its predictions were in doubt and requested again,
    each request counts that may have cost money: then this may be negative.
    """
    return job.counted - sum(_cost(image, job) for image in job.images) if job.counted else 0


def _cost(image: Image, job: Job) -> int:
    attempts = image.billable - image.billable_before
    if attempts > 1:
        return attempts
    # An item of an older release has no count, but a time.
    asked = attempts == 1 if image.billable else _is_asked_since(image, job)
    return int(asked and bool(image.prediction_id or image.in_doubt_until))


def _is_asked_since(image: Image, job: Job) -> bool:
    return image.asked_at is not None and image.asked_at >= job.watched_since - CLOCKS


def _began(entry: str) -> datetime:
    return datetime.fromtimestamp(int(entry.partition("-")[0], 16) / 1000, UTC)

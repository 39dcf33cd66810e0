"""The counts of what was spent: an item for each owner and one for the stack, beside the jobs.

An order is counted in the transaction that stores its job. So neither happens without the other, and no limit is
exceeded, however many orders come at once. Nothing here decides what an order may spend; that belongs in `spending`.
"""

from __future__ import annotations

import functools
import random
import re
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pynamodb.attributes import TTLAttribute, UnicodeAttribute, UnicodeSetAttribute
from pynamodb.exceptions import TransactWriteError
from pynamodb.expressions.condition import size
from pynamodb.expressions.operand import Path, Value
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from triptych.aws import table
from triptych.deadlines import day_of, longest_life
from triptych.runtime import clock
from triptych.settings import settings
from triptych.spending import Limits, Order, Spent, balance, entry_of, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action

    from triptych.job import Job

    type _Change = tuple[_Spent, Sequence[Action], Condition | None]

CONTENDED_TRIES = 20  # about four seconds: one owner's transactions all update the count of the day
REFUSED_TRIES = 3  # while other orders are given back
COUNT_DAYS = 70  # how long what an owner has spent is kept after the last order
RELEASED_DAYS = 17  # longer than the stream keeps a write, and then the bucket of dead letters
OLD_DAYS = range(62, 93)  # counts that nobody asks for any more
EARLIER_DAYS = range(1, 8)  # whose orders nobody counts any more
_STACK = "spent in total"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_ORDERED = "ordered "  # before the day, in the name of the count with what was given back


class _Spent(Model):
    """What an owner or the stack has spent. The item lies beside the jobs, under a key that no job has.

    Each day has an attribute of its own, named by its date: a count that does not exist yet needs no other request.
    """

    class Meta:
        table_name = ""

    job_id = UnicodeAttribute(hash_key=True)
    active = UnicodeSetAttribute(null=True)  # entries of unfinished jobs, only if their number is limited
    expires_at = TTLAttribute()


class _RefusedError(Exception):
    """A condition of a transaction does not hold: the record's, or that of a count."""

    def __init__(self, *, record: bool) -> None:
        super().__init__()
        self.record = record


def create(job: Job, order: Order) -> Job:
    """Store a new job and count its order in one transaction; return it with its version.

    Raises:
        table.ConflictError: The id is in use.
        LimitReachedError: The order exceeds a limit.
        table.ContendedError: Too many jobs at once; a later call may succeed.
    """
    return _save(job, order, Path("job_id").does_not_exist())


def put(job: Job, order: Order) -> Job:
    """As `table.put`, and count an order of the job in the same transaction.

    Raises:
        table.ConflictError: Another version is stored, or none.
        LimitReachedError, table.ContendedError: As `create` does.
    """
    return _save(job, order)


def check(order: Order) -> None:
    """Compare an order to what was spent. Entries of jobs that must have ended are removed; nothing else changes.

    Raises:
        LimitReachedError: The order exceeds a limit.
    """
    if order.limits != Limits():
        _compare(order)


def release(job: Job) -> None:
    """Count the job as ended: it is no longer active, and its pictures count as many as may have cost money. Repeatable.

    Args:
        job: As it was at its end, or when it was deleted.

    Raises:
        table.ContendedError: Too many writes at once; a later call may succeed.
    """
    entry, back, day = entry_of(job), balance(job), day_of(job.watched_since)
    active = _Spent.active.contains(entry)
    old = [_day(day - timedelta(days=days)).remove() for days in OLD_DAYS]
    inactive = _Spent.active.delete({entry})
    if back:
        now = clock.now()
        settle = [_day(day).add(Value(-back)), _Spent.expires_at.set(now + timedelta(days=COUNT_DAYS)), *old]
        enough = _day(day) >= Value(back) if back > 0 else None
        # An item of its own makes this repeatable, because an order without a limit of active jobs has no entry.
        once = _Spent.job_id.does_not_exist()
        keep = _Spent.expires_at.set(now + timedelta(days=RELEASED_DAYS))
        changes: list[_Change] = [(_item(f"released {entry} of {job.job_id}"), [keep], once)]
        changes.append((_owners(job.owner), [inactive, *settle], enough))
        if settings().daily_pictures:
            changes.append((_item(_STACK), settle, enough))
        # If it is refused, it was done before, or the stack's limit or time zone is another one than at the order.
        with suppress(_RefusedError):
            return _transact(changes)
    with suppress(_RefusedError):  # it was done before
        _transact([(_owners(job.owner), [inactive, *old], active)])
    return None


def spent(owner: str) -> Spent:
    """Return what the owner has spent."""
    return _spent(_owners(owner).job_id)


def spent_in_total() -> Spent:
    """Return what all owners have spent. It is counted only if it is limited."""
    return _spent(_STACK)


def _spent(key: str) -> Spent:
    found = table.connection().get_item(key, consistent_read=True).get("Item", {})
    return Spent(
        _by_day(found), frozenset(found.get("active", {}).get("SS", [])), _by_day(found, prefix=_ORDERED)
    )


def _by_day(item: Mapping[str, Mapping[str, str]], prefix: str = "") -> dict[str, int]:
    """Return the counts whose names are this prefix and a day, by that day."""
    begin = len(prefix)
    return {
        name[begin:]: int(value["N"])
        for name, value in item.items()
        if name.startswith(prefix) and _DAY.fullmatch(name, begin)
    }


def _compare(order: Order) -> None:
    owner, stack = spent(order.owner), Spent()
    if order.limits.pictures:
        stack = spent_in_total()
    stale = owner.stale(clock.now(), longest_life())
    if stale and len(owner.active) >= order.limits.active_jobs:
        _transact([(_owners(order.owner), [_Spent.active.delete(set(stale))], None)])
        owner = replace(owner, active=owner.active - stale)
    refuse(order, owner, stack)


def _save(job: Job, order: Order, condition: Condition | None = None) -> Job:
    """Save and count in one transaction: neither happens without the other."""
    record = table.to_record(job)
    for _ in range(REFUSED_TRIES):
        try:
            _transact(_changes_of(order), record, condition)
        except _RefusedError as refused:
            if refused.record:
                raise table.ConflictError(job.job_id) from None
        else:
            return replace(job, version=record.version)
        _compare(order)  # raises, unless an order was given back meanwhile
    raise table.ContendedError(order.owner)


def _changes_of(order: Order) -> list[_Change]:
    limits, day = order.limits, _day(order.day)
    keep = _Spent.expires_at.set(clock.now() + timedelta(days=COUNT_DAYS))
    actions: list[Action] = [day.add(Value(order.pictures)), keep]
    conditions = [_at_most(day, limits.pictures_of_owner, order.pictures)]
    if limits.ordered_by_owner:
        ordered = _ordered(order.day)
        actions += [ordered.add(Value(order.pictures))]
        actions += [_ordered(order.day - timedelta(days=days)).remove() for days in EARLIER_DAYS]
        conditions.append(_at_most(ordered, limits.ordered_by_owner, order.pictures))
    if limits.active_jobs:
        actions.append(_Spent.active.add({order.entry}))
        fewer = size(_Spent.active) < Value(limits.active_jobs)  # type: ignore[no-untyped-call]  # PynamoDB leaves it untyped
        conditions.append(_Spent.active.does_not_exist() | (fewer & ~_Spent.active.contains(order.entry)))
    changes: list[_Change] = [(_owners(order.owner), actions, _all(conditions))]
    if limits.pictures:
        actions = [day.add(Value(order.pictures)), keep]
        changes.append((_item(_STACK), actions, _at_most(day, limits.pictures, order.pictures)))
    return changes


def _at_most(day: Path, limit: int, pictures: int) -> Condition | None:
    if not limit:
        return None
    few = day <= Value(limit - pictures)
    allowed: Condition = few | day.does_not_exist() if pictures <= limit else few
    return allowed


def _all(conditions: Iterable[Condition | None]) -> Condition | None:
    given: list[Condition] = [one for one in conditions if one is not None]
    if not given:
        return None
    every: Condition = functools.reduce(lambda one, other: one & other, given)
    return every


def _transact(
    changes: Sequence[_Change], record: Model | None = None, condition: Condition | None = None
) -> None:
    """Make all changes in one transaction, and save the record with them.

    Raises:
        _RefusedError: A condition does not hold.
        table.ContendedError: Other transactions on the same items were always faster.
    """
    whole = table.connection().connection
    for tries in range(CONTENDED_TRIES):
        clock.sleep(random.uniform(0, 0.02 * tries))  # noqa: S311  # not a secret
        try:
            with TransactWrite(connection=whole) as transaction:
                if record:
                    transaction.save(record, condition=condition)
                for item, actions, unless in changes:
                    transaction.update(item, actions=[*actions], condition=unless)
        except TransactWriteError as error:
            codes = [reason and reason.code for reason in error.cancellation_reasons or ()]
            if "ConditionalCheckFailed" in codes:
                raise _RefusedError(record=bool(record) and codes[0] == "ConditionalCheckFailed") from None
            if not table.CONTENTION & {*codes, error.cause_response_code}:
                raise
        else:
            return
    raise table.ContendedError


def _item(key: str) -> _Spent:
    _Spent.Meta.table_name = settings().table
    return _Spent(key)


def _owners(owner: str) -> _Spent:
    return _item(f"spent by owner {owner}")


def _day(day: date) -> Path:
    return Path([day.isoformat()])


def _ordered(day: date) -> Path:
    return Path([f"{_ORDERED}{day.isoformat()}"])

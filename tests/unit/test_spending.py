"""What an order may spend, and what it gives back."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.support.jobs import START, waiting_job
from triptych.job import Image, ImageStatus, Job
from triptych.spending import (
    LimitReachedError,
    Limits,
    Order,
    OrderedTooOftenError,
    OversizedError,
    OwnersDayFullError,
    Spent,
    StacksDayFullError,
    TooManyActiveError,
    balance,
    entry_of,
    refuse,
    refuse_oversized,
)

DAY = date(2026, 11, 29)
TODAY = DAY.isoformat()


def order(limits: Limits, pictures: int = 3) -> Order:
    return Order(owner="ann", entry="e", day=DAY, pictures=pictures, limits=limits)


def test_owner_may_order_exactly_ten_times_the_daily_limit() -> None:
    refuse(order(Limits(pictures_of_owner=5)), Spent(ordered={TODAY: 47}), Spent())
    with pytest.raises(OrderedTooOftenError):
        refuse(order(Limits(pictures_of_owner=5)), Spent(ordered={TODAY: 48}), Spent())


def test_first_order_of_a_day_may_use_it_up() -> None:
    all_of_it = order(Limits(pictures_of_owner=3, pictures=3, active_jobs=1))
    refuse(all_of_it, Spent({"2026-11-28": 3}, ordered={"2026-11-28": 30}), Spent({"2026-11-28": 3}))


@pytest.mark.parametrize(
    ("limits", "owner", "stack", "error"),
    [
        (Limits(pictures_of_owner=5), Spent({TODAY: 3}), Spent(), OwnersDayFullError),
        (Limits(pictures=5), Spent(), Spent({TODAY: 3}), StacksDayFullError),
        (Limits(active_jobs=2), Spent(active=frozenset("ab")), Spent(), TooManyActiveError),
    ],
)
def test_order_beyond_one_limit_is_refused(
    limits: Limits, owner: Spent, stack: Spent, error: type[LimitReachedError]
) -> None:
    with pytest.raises(error):
        refuse(order(limits), owner, stack)
    refuse(order(Limits(pictures_of_owner=6, pictures=6, active_jobs=3)), owner, stack)


def test_job_that_is_active_already_takes_no_second_place() -> None:
    refuse(order(Limits(active_jobs=2)), Spent(active=frozenset("ae")), Spent())


def test_order_as_large_as_the_smaller_daily_limit_fits() -> None:
    for limits in (Limits(pictures_of_owner=3, pictures=4), Limits(pictures_of_owner=4, pictures=3)):
        refuse_oversized(order(limits, pictures=3))
        with pytest.raises(OversizedError):
            refuse_oversized(order(limits, pictures=4))
    refuse_oversized(order(Limits(), pictures=100))


def test_month_holds_the_days_of_that_month_alone() -> None:
    days = {"2026-10-31": 1, "2026-11-01": 2, "2026-11-30": 4, "2026-12-01": 8, "2025-11-29": 16}
    assert Spent(days).in_month_of(DAY) == 6


def test_entry_is_stale_after_the_longest_life() -> None:
    longest = timedelta(minutes=30)
    entry = entry_of(waiting_job())
    spent = Spent(active=frozenset({entry}))
    assert not spent.stale(START + longest, longest)
    assert spent.stale(START + longest + timedelta(milliseconds=1), longest) == {entry}


def test_entry_is_told_from_those_of_other_jobs_and_retries() -> None:
    """The table holds entries of older releases, so they keep their form."""
    job = replace(waiting_job(), job_id="0123456789abcdef")
    assert entry_of(job) == f"{1_795_521_600_000:x}-01234567"
    assert entry_of(replace(job, retried_at=START + timedelta(milliseconds=1))) != entry_of(job)


def ended(**image: object) -> Job:
    """Return a failed job of one image that counted three pictures."""
    failed = replace(Image(0, ImageStatus.FAILED), **image)  # type: ignore[arg-type]  # the fields' types differ
    return replace(waiting_job(1), counted=3, images=(failed,))


@pytest.mark.parametrize(
    ("image", "cost"),
    [
        ({}, 0),
        ({"billable": 1}, 0),  # it provably has no prediction
        ({"billable": 1, "prediction_id": "p"}, 1),
        ({"billable": 1, "in_doubt_until": START}, 1),
        ({"billable": 2}, 2),
        ({"billable": 4, "billable_before": 1}, 3),
        ({"billable": 3, "billable_before": 3, "prediction_id": "p"}, 0),  # all before the retry
        ({"prediction_id": "p", "asked_at": START - timedelta(seconds=1)}, 1),  # written by an older release
        ({"prediction_id": "p", "asked_at": START - timedelta(seconds=1) - timedelta(microseconds=1)}, 0),
        ({"asked_at": START}, 0),
        ({"prediction_id": "p"}, 0),
    ],
)
def test_order_gives_back_all_but_what_may_have_cost_money(image: dict[str, object], cost: int) -> None:
    assert balance(ended(**image)) == 3 - cost


def test_requests_beyond_those_counted_are_counted_at_the_end() -> None:
    assert balance(ended(billable=5)) == -2


def test_job_that_was_not_counted_gives_nothing_back() -> None:
    assert balance(replace(ended(billable=2), counted=0)) == 0

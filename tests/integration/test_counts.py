"""The counts of what was spent, as they lie in the table: what an end gives back, and what is forgotten when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.jobs import START, at, waiting_job
from tests.support.world import World
from triptych.aws import counts, table
from triptych.job import Job, UploadExpired, apply
from triptych.settings import settings
from triptych.spending import Limits, Order, TooManyActiveError, entry_of

DAY = START.date()
OWNERS, STACKS = "spent by owner ann", "spent in total"


@pytest.fixture(autouse=True)
def begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.clock.time = START
    monkeypatch.setenv("DAILY_PICTURES", "100")
    settings.cache_clear()


def ordered(job_id: str = "j", *, days: int = 0, pictures: int = 3, **limits: int) -> Job:
    """Store a job so many days after START, with its order; return it."""
    when = START + timedelta(days=days)
    job = replace(waiting_job(pictures), job_id=job_id, created_at=when)
    order = Order(
        owner="ann",
        entry=entry_of(job),
        day=when.date(),
        pictures=pictures,
        limits=Limits(pictures=100, **limits),
    )
    return counts.create(job, order)


def ended(job: Job) -> Job:
    return apply(job, UploadExpired(), job.created_at)


def count(world: World, key: str, name: str) -> int | None:
    found = world.item(key).get(name)
    return None if found is None else int(found["N"])


def test_end_gives_back_what_was_not_made(world: World) -> None:
    job = ordered()
    ordered("other")
    world.clock.advance(60)
    counts.release(ended(job))
    counts.release(ended(job))  # a replayed end
    assert [count(world, key, DAY.isoformat()) for key in (OWNERS, STACKS)] == [3, 3]
    end = int(at(60).timestamp())
    assert count(world, f"released {entry_of(job)} of j", "expires_at") == end + 17 * 86_400
    assert [count(world, key, "expires_at") for key in (OWNERS, STACKS)] == [end + 70 * 86_400] * 2


def test_single_picture_is_never_given_back_below_nothing(world: World) -> None:
    """The order was counted while the stack had no limit, or on another day."""
    job = ordered(pictures=1)
    counts._transact([(counts._owners("ann"), [counts._day(DAY).remove()], None)])
    counts.release(ended(job))
    assert count(world, OWNERS, DAY.isoformat()) is None


def test_end_that_costs_more_than_was_counted_adds_the_rest(world: World) -> None:
    job = ordered(pictures=1)
    image = replace(job.images[0], billable=3)
    counts.release(replace(ended(job), images=(image,)))
    assert count(world, OWNERS, DAY.isoformat()) == 3


@pytest.mark.parametrize(("days", "kept"), [(61, True), (62, False), (92, False), (93, True)])
def test_days_of_two_months_ago_are_forgotten(world: World, days: int, *, kept: bool) -> None:
    """Each day passes through these, so none stays for ever."""
    ordered("old", days=-days)
    job = ordered()
    counts.release(ended(job))
    old = (DAY - timedelta(days=days)).isoformat()
    assert [count(world, key, old) is not None for key in (OWNERS, STACKS)] == [kept] * 2


def test_end_that_gives_nothing_back_forgets_days_too(world: World) -> None:
    ordered("old", days=-62)
    job = ordered(active_jobs=5)
    counts.release(replace(ended(job), counted=0))
    assert count(world, OWNERS, (DAY - timedelta(days=62)).isoformat()) is None
    assert "active" not in world.item(OWNERS)


@pytest.mark.parametrize(("days", "kept"), [(1, False), (7, False), (8, True)])
def test_orders_of_the_week_before_are_forgotten_at_an_order(world: World, days: int, *, kept: bool) -> None:
    ordered("old", days=-days, pictures_of_owner=10)
    ordered(pictures_of_owner=10)
    old = f"ordered {DAY - timedelta(days=days)}"
    assert (count(world, OWNERS, old) is not None) is kept
    assert counts.spent("ann").ordered[DAY.isoformat()] == 3


def test_place_of_a_lost_job_is_taken_back(world: World) -> None:
    ordered("lost", active_jobs=1)
    with pytest.raises(TooManyActiveError):
        ordered("next", active_jobs=1)
    world.clock.advance(2 * 86_400)
    later = ordered("later", days=2, active_jobs=1)
    assert counts.spent("ann").active == {entry_of(later)}


def test_same_job_is_not_created_twice(world: World) -> None:
    ordered()
    with pytest.raises(table.ConflictError):
        ordered()
    assert count(world, OWNERS, DAY.isoformat()) == 3

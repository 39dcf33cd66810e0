"""The turn of the day and of the month: for which day an order counts, and for which its pictures are given back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest

from tests.integration.ordering import Client, asked_job, finish, set_limits
from tests.support.world import World
from triptych.aws.counts import spent, spent_in_total
from triptych.flows import owner
from triptych.job import Canceled, DeadlinePassed, UploadExpired
from triptych.settings import settings

LAST, NEXT = date(2026, 11, 30), date(2026, 12, 1)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def ann(world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Client:
    set_limits(monkeypatch, TIMEZONE="UTC", MAX_ACTIVE_JOBS_PER_OWNER="9")
    return Client(world, context, "ann")


def counts(name: str) -> tuple[int, int]:
    """Return the pictures of an owner, or of all, on the last day and on the next one."""
    found = spent_in_total() if name == "all" else spent(name)
    return found.on(LAST), found.on(NEXT)


@pytest.mark.parametrize(
    ("zone", "midnight"), [("UTC", MIDNIGHT), ("Asia/Seoul", MIDNIGHT - timedelta(hours=9))]
)
def test_usage_turns_exactly_at_midnight(
    world: World, ann: Client, monkeypatch: pytest.MonkeyPatch, zone: str, midnight: datetime
) -> None:
    monkeypatch.setenv("TIMEZONE", zone)
    settings.cache_clear()
    world.clock.time = midnight - INSTANT
    for _ in range(3):
        assert ann.order()[0] == 201
    usage = ann.usage()
    assert (usage["pictures_today"], usage["pictures_this_month"]) == (9, 9)
    assert datetime.fromisoformat(usage["day_ends_at"]) == midnight
    status, _, headers = ann.order()
    assert (status, headers["Retry-After"]) == (429, "1")
    world.clock.time = midnight
    usage = ann.usage()
    assert (usage["pictures_today"], usage["pictures_this_month"]) == (0, 0)
    assert datetime.fromisoformat(usage["day_ends_at"]) == midnight + timedelta(days=1)
    assert ann.order()[0] == 201
    usage = ann.usage()
    assert (usage["pictures_today"], usage["pictures_this_month"]) == (3, 3)
    assert (counts("ann"), counts("all")) == ((9, 3), (9, 3))


def test_month_counts_all_its_days(world: World, ann: Client) -> None:
    for time in (MIDNIGHT - INSTANT, MIDNIGHT, MIDNIGHT + timedelta(days=31) - INSTANT):
        world.clock.time = time
        assert ann.order()[0] == 201
    usage = ann.usage()
    assert (usage["pictures_today"], usage["pictures_this_month"]) == (3, 6)
    world.clock.advance(0.000001)
    assert ann.usage()["pictures_this_month"] == 0


def test_pictures_are_given_back_to_the_day_of_their_order(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    world.clock.time = MIDNIGHT - INSTANT
    job = ann.job()
    world.clock.time = MIDNIGHT
    ann.order()
    finish(world, context, job, UploadExpired())
    assert (counts("ann"), counts("all")) == ((0, 3), (0, 3))


def test_pictures_of_a_retry_are_given_back_to_its_day(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    world.clock.time = MIDNIGHT - timedelta(hours=2)
    job = asked_job(world, context, ann)
    finish(world, context, job, DeadlinePassed(0))
    world.clock.time = MIDNIGHT
    assert owner.retry(world.job(job.job_id))
    assert (counts("ann"), counts("all")) == ((3, 3), (3, 3))
    world.clock.advance(24 * 3600)
    finish(world, context, world.job(job.job_id), Canceled())
    assert (counts("ann"), counts("all")) == ((3, 0), (3, 0))


def test_new_time_zone_takes_no_count_below_zero(
    world: World, context: SimpleNamespace, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job was ordered on the next day, in the time zone of then. On its day of now, only others have ordered."""
    monkeypatch.setenv("TIMEZONE", "Asia/Seoul")
    settings.cache_clear()
    world.clock.time = MIDNIGHT - timedelta(hours=1)
    job = ann.job()
    monkeypatch.setenv("TIMEZONE", "UTC")
    settings.cache_clear()
    Client(world, context, "bob").order()
    finish(world, context, job, UploadExpired())
    assert counts("ann") == (0, 3)
    assert counts("all") == (3, 3)
    assert ann.usage()["active_jobs"] == 0

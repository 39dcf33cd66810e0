"""When a job and its uploads end, and when a day does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from tests.support.jobs import START, waiting_job
from triptych import deadlines

TOKYO = ZoneInfo("Asia/Tokyo")


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    chosen = SimpleNamespace(
        upload_url_seconds=900, generation_deadline_seconds=1800, retention_days=30, timezone=TOKYO
    )
    monkeypatch.setattr(deadlines, "settings", lambda: chosen)
    return chosen


def after(job_or_time: datetime) -> float:
    return (job_or_time - START).total_seconds()


def test_deadline_counts_from_the_upload_and_expiry_from_creation() -> None:
    job = waiting_job()
    assert after(deadlines.deadline(job)) == 1800
    uploaded = replace(job, uploaded_at=START + timedelta(seconds=60))
    assert after(deadlines.deadline(uploaded)) == 1860
    assert after(deadlines.expires_at(uploaded)) == 30 * 86_400


@pytest.mark.parametrize(("url", "slow"), [(60, 60), (300, 300), (900, 300)])
def test_slow_upload_may_last_beyond_its_url(chosen: SimpleNamespace, url: int, slow: int) -> None:
    chosen.upload_url_seconds = url
    assert after(deadlines.upload_urls_end(waiting_job())) == url + slow
    assert after(deadlines.upload_deadline(waiting_job())) == url + 2 * slow


def test_no_job_lives_longer_than_its_upload_and_its_deadline() -> None:
    latest = replace(waiting_job(), uploaded_at=deadlines.upload_deadline(waiting_job()))
    assert deadlines.deadline(latest) - START + timedelta(hours=1) == deadlines.longest_life()


@pytest.mark.parametrize(
    ("second", "left"), [(0, 900), (300, 900), (301, 899), (1199, 1), (1200, 0), (1201, 0)]
)
def test_new_upload_url_ends_with_the_last_one(second: int, left: int) -> None:
    assert deadlines.upload_url_seconds(waiting_job(), START + timedelta(seconds=second)) == left


def test_day_is_that_of_the_stacks_time_zone() -> None:
    before = datetime(2026, 11, 28, 14, 59, 59, 500_000, tzinfo=UTC)
    midnight = datetime(2026, 11, 28, 15, tzinfo=UTC)
    assert deadlines.day_of(before) == date(2026, 11, 28)
    assert deadlines.day_of(midnight) == date(2026, 11, 29)
    assert deadlines.next_day(before) == midnight
    assert deadlines.seconds_to_the_next_day(before) == 1
    assert deadlines.seconds_to_the_next_day(midnight) == 86_401  # a second more than it takes

"""What an owner has used, and the owner's limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from triptych.aws import table
from triptych.deadlines import day_of, longest_life, seconds_to_the_next_day
from triptych.runtime import clock


@dataclass(frozen=True, slots=True)
class Usage:
    """What an owner has used."""

    pictures_today: int
    pictures_this_month: int
    active_jobs: int
    day_ends_at: datetime


def read(owner: str) -> Usage:
    """Return what the owner has used up to now."""
    now = clock.now()
    spent, today = table.spent(owner), day_of(now)
    return Usage(
        pictures_today=spent.on(today),
        pictures_this_month=spent.in_month_of(today),
        active_jobs=len(spent.active - spent.stale(now, longest_life())),
        day_ends_at=now + timedelta(seconds=seconds_to_the_next_day(now)),
    )

"""What an owner has used, and the owner's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from triptych.aws import counts
from triptych.deadlines import day_of, longest_life, next_day
from triptych.runtime import clock

if TYPE_CHECKING:
    from datetime import datetime


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
    spent, today = counts.spent(owner), day_of(now)
    return Usage(
        pictures_today=spent.on(today),
        pictures_this_month=spent.in_month_of(today),
        active_jobs=len(spent.active - spent.stale(now, longest_life())),
        day_ends_at=next_day(now),
    )

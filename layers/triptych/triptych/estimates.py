"""How long a job may take, from how long recent jobs of its model took. Nothing here does I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACES = 50  # recent jobs that are kept for each model
FEWEST = 3  # with fewer, nothing is said


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds from the start of a job to its end."""

    typical_seconds: float  # half of the recent jobs took no longer
    slow_seconds: float  # nine of ten took no longer


def estimate(seconds: Sequence[float]) -> Estimate | None:
    """Return an estimate from the seconds of recent jobs, in any order; None if they are fewer than FEWEST."""
    if len(seconds) < FEWEST:
        return None
    ordered = sorted(seconds)
    return Estimate(_percentile(ordered, 0.5), _percentile(ordered, 0.9))


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest rank: the smallest value that this share of all values does not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1]

"""What is said of a job's duration, from the durations of recent jobs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.estimates import FEWEST, Estimate, estimate

SECONDS = st.lists(st.floats(0, 3000, allow_nan=False), min_size=FEWEST, max_size=50)


@pytest.mark.parametrize("seconds", [[], [4.0], [4.0] * (FEWEST - 1)])
def test_few_jobs_give_no_estimate(seconds: list[float]) -> None:
    assert estimate(seconds) is None


def test_estimate_is_the_median_and_the_ninetieth_percentile() -> None:
    assert estimate([30.0, 10.0, 20.0]) == Estimate(20.0, 30.0)
    assert estimate([float(n) for n in range(10, 0, -1)]) == Estimate(5.0, 9.0)


@given(SECONDS)
def test_shares_of_the_jobs_took_no_longer(seconds: list[float]) -> None:
    found = estimate(seconds)
    assert found
    assert found.typical_seconds <= found.slow_seconds
    for limit, share in ((found.typical_seconds, 0.5), (found.slow_seconds, 0.9)):
        assert limit in seconds
        assert sum(one <= limit for one in seconds) >= share * len(seconds)
        assert sum(one < limit for one in seconds) < share * len(seconds)

"""The throttle of a route."""

from __future__ import annotations

from tests.localcloud.throttle import Rate, Throttle


def test_bucket_permits_a_burst_and_then_its_rate() -> None:
    now = 0.0
    throttle = Throttle(Rate(burst=3, a_second=2), lambda: now)
    assert [throttle.permits() for _ in range(4)] == [True, True, True, False]
    now = 0.5
    assert [throttle.permits() for _ in range(2)] == [True, False]
    now = 100
    assert [throttle.permits() for _ in range(4)] == [True, True, True, False]

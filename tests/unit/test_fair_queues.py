"""The order of a fair queue, which the local cloud and the simulation share."""

from __future__ import annotations

from tests.support.fair_queues import MOST_IN_FLIGHT, RECENT_SECONDS, FairOrder


def test_quiet_group_comes_before_one_that_uses_the_consumers_time() -> None:
    order = FairOrder()
    order.received("crowd", "1", 0)
    order.ended("1", 10)
    waiting = [("crowd", "2"), ("crowd", "3"), ("single", "4")]
    assert order.sort(waiting, 10) == ["4", "2", "3"]


def test_noisy_group_is_quiet_again_after_a_while() -> None:
    order = FairOrder()
    order.received("crowd", "1", 0)
    order.ended("1", 10)
    later = 10 + RECENT_SECONDS + 1
    assert order.sort([("crowd", "2"), ("single", "3")], later) == ["2", "3"]


def test_group_with_many_messages_in_flight_is_noisy() -> None:
    order = FairOrder()
    for number in range(MOST_IN_FLIGHT):
        order.received("crowd", number, 0)
    assert order.noisy(0) == {"crowd"}


def test_message_that_still_runs_counts() -> None:
    order = FairOrder()
    order.received("slow", "1", 0)
    assert order.noisy(5) == {"slow"}


def test_messages_without_a_group_are_never_noisy() -> None:
    order = FairOrder()
    order.received(None, "1", 0)
    assert order.noisy(100) == set()

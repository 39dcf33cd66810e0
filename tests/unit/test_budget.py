"""A wall-clock limit for work that waits."""

from __future__ import annotations

import threading

import pytest

from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget


class Time:
    """A clock that moves only when a test moves it."""

    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "monotonic", time.monotonic)
    return time


def test_a_budget_shrinks_with_time_and_is_never_negative(time: Time) -> None:
    budget = TimeBudget(10)
    time.seconds += 4
    assert (budget.seconds_left, budget.is_spent) == (6, False)
    time.seconds += 60
    assert (budget.seconds_left, budget.is_spent) == (0, True)


def test_a_nearly_spent_budget_is_topped_up(time: Time) -> None:
    budget = TimeBudget(10)
    assert budget.at_least(1) is budget
    time.seconds += 10
    assert budget.at_least(1).seconds_left == 1


def test_results_have_the_order_of_the_tasks() -> None:
    first_ends = threading.Event()

    def first() -> str:
        first_ends.wait(10)
        return "first"

    def second() -> str:
        first_ends.set()
        return "second"

    assert TimeBudget(10).run([first, second]) == ["first", "second"]


def test_unfinished_task_has_no_result() -> None:
    end = threading.Event()
    try:
        assert TimeBudget(0.05).run([end.wait, lambda: True]) == [None, True]
    finally:
        end.set()


def test_grace_lets_a_task_end_after_the_budget() -> None:
    budget = TimeBudget(0)
    assert budget.is_spent
    assert budget.run([lambda: "ended"], grace=10) == ["ended"]


def test_an_exception_of_a_task_is_raised() -> None:
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        TimeBudget(10).run([fails])

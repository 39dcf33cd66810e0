"""A wall-clock limit for work that waits for the network.

httpx's timeouts limit each read. A server that sends one byte now and then never exceeds them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from triptych.runtime import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class TimeBudget:
    """The seconds that some work may take, from the creation of this object on."""

    __slots__ = ("_ends_at",)

    def __init__(self, seconds: float) -> None:
        self._ends_at = clock.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """Never negative."""
        return max(0.0, self._ends_at - clock.monotonic())

    @property
    def is_spent(self) -> bool:
        return not self.seconds_left

    def at_least(self, seconds: float) -> TimeBudget:
        """Return this budget, or a new one of `seconds` if less is left."""
        return self if self.seconds_left >= seconds else TimeBudget(seconds)

    def run[T](self, tasks: Sequence[Callable[[], T]], *, grace: float = 0.0) -> list[T | None]:
        """Run `tasks` at the same time; return the result of each, None for one that did not end in time.

        Args:
            tasks: Each runs in a thread. One that does not end in time runs on: it must look at the budget itself
                before it does anything that cannot be undone.
            grace: Seconds to wait beyond the budget, so that a task which watches the budget can still end by itself.

        Raises:
            Exception: Whatever a task raised.
        """
        return run_in_threads(tasks, self.seconds_left + grace)


def run_in_threads[T](tasks: Sequence[Callable[[], T]], seconds: float) -> list[T | None]:
    """Run `tasks` at the same time for at most `seconds`; return each result, None for one that did not end."""
    pool = ThreadPoolExecutor(max_workers=max(1, len(tasks)))
    futures = [pool.submit(task) for task in tasks]
    wait(futures, timeout=seconds)
    pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() if future.done() and not future.cancelled() else None for future in futures]

"""A wall-clock bound on what the network may take.

httpx's timeouts bound each read: a server that sends a byte now and then is never too slow for them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def within[T](seconds: float, tasks: Sequence[Callable[[], T]]) -> list[T | None]:
    """What `tasks`, all at once, come to within `seconds`; None for each that takes longer.

    A task that takes longer is left to itself, and must look at the clock before it does what cannot be undone.

    Raises:
        Exception: what a task raised.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, len(tasks)))
    futures = [pool.submit(task) for task in tasks]
    wait(futures, timeout=seconds)
    pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() if future.done() and not future.cancelled() else None for future in futures]

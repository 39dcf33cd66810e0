"""What is made once for a process, whatever the number of threads that ask for it first."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# One for all, since what makes a client makes it of the session: and of one session no two threads may make clients
# (https://docs.aws.amazon.com/boto3/latest/guide/session.html#multithreading-or-multiprocessing-with-sessions).
_making = RLock()


class once[T]:  # noqa: N801  # it is used as functools.cache is, which lets each of several threads make one
    """What a function of no arguments makes, kept from the first call on."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []

    def __call__(self) -> T:
        if not self._made:
            with _making:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]

    def cache_clear(self) -> None:
        """Have it made anew."""
        self._made.clear()

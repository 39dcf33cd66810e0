"""Objects that a process makes once, however many threads ask for them first."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# One lock for all: every client is made from the same session, and two threads must not make clients from one session
# at the same time
# (https://docs.aws.amazon.com/boto3/latest/guide/session.html#multithreading-or-multiprocessing-with-sessions).
_making = RLock()


class once[T]:  # noqa: N801  # a decorator, as functools.cache is; that one lets each of several threads make an object
    """The result of a function without arguments, made by the first call and kept."""

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
        """Forget the object; the next call makes a new one."""
        self._made.clear()

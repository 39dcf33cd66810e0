"""What runs beside all else while the cloud is up: pollers, readers, subscribers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """Threads from `start` to `stop`; a context manager that does both."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._runs: dict[
            str, Callable[[], None]
        ] = {}  # by the thread's name; each ends when `_stopping` is set

    def start(self) -> Self:
        for name, run in self._runs.items():
            threading.Thread(target=run, name=name, daemon=True).start()
        return self

    def stop(self) -> None:
        """Begin nothing more; what is under way is not waited for."""
        self._stopping.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

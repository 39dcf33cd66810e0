"""Base class for background threads of a running cloud: pollers, readers, subscribers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """Threads that run from `start` to `stop`; as a context manager, does both."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        # By thread name. Each function returns once `_stopping` is set.
        self._runs: dict[str, Callable[[], None]] = {}

    def start(self) -> Self:
        for name, run in self._runs.items():
            threading.Thread(target=run, name=name, daemon=True).start()
        return self

    def stop(self) -> None:
        """Start no more work, without waiting for work in progress."""
        self._stopping.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

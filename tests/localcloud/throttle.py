"""API Gateway's throttle of a route: a token bucket.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Rate:
    """The settings of a throttle."""

    burst: int
    a_second: float


class Throttle:
    """A bucket that holds `burst` requests at most, and gets `a_second` new ones each second."""

    def __init__(self, rate: Rate, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._lock = threading.Lock()
        self._left = float(rate.burst)
        self._at = now()

    def permits(self) -> bool:
        """Take one request out of the bucket; return False if it is empty."""
        with self._lock:
            at = self._now()
            self._left = min(self._rate.burst, self._left + (at - self._at) * self._rate.a_second)
            self._at = at
            if self._left < 1:
                return False
            self._left -= 1
            return True

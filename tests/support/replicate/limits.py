"""Replicate's rate limits. Times are seconds on any clock."""

from __future__ import annotations

from collections import deque

LOW_CREDIT_CREATES = 6  # a minute


class Limiter:
    """A token bucket."""

    def __init__(self, burst: int, every: float) -> None:
        """Allow `burst` requests at once, and one more every `every` seconds."""
        self.burst, self.every = burst, every
        self._level, self._at = float(burst), 0.0

    def take(self, now: float) -> tuple[int, float]:
        """Return the tokens left (-1 if none could be taken) and the seconds until the next one."""
        gained = (now - self._at) / self.every if self.every else self.burst
        self._level, self._at = min(self.burst, self._level + gained), now
        if self._level < 1:
            return -1, (1 - self._level) * self.every
        self._level -= 1
        return int(self._level), max(0, 1 - self._level) * self.every


class LowCredit:
    """Replicate's limit for an account with little credit: six creates a minute, and a pause between two.

    For an account without a payment method, Replicate documents one create a second and six a minute
    (https://replicate.com/docs/topics/predictions/rate-limits). With less than $5, one every 10 s was seen.
    """

    def __init__(self, apart: float, minute: float) -> None:
        """Allow one create every `apart` seconds, and six every `minute` seconds."""
        self.apart, self.minute = apart, minute
        self._taken: deque[float] = deque(maxlen=LOW_CREDIT_CREATES)

    def take(self, now: float) -> tuple[int, float]:
        """Return the create requests left now (-1 if none could be taken) and the seconds until the next one."""
        if (wait := self._wait(now)) > 0:
            return -1, wait
        self._taken.append(now)
        return 0, self._wait(now)

    def _wait(self, now: float) -> float:
        full = len(self._taken) == LOW_CREDIT_CREATES
        next_of_minute = self._taken[0] + self.minute if full else now
        next_of_second = self._taken[-1] + self.apart if self._taken else now
        return max(next_of_minute, next_of_second) - now

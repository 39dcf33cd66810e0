"""The pace of create requests while Replicate limits them. Pure.

Replicate limits an account, and each process sees only the answers to its own requests. So each process keeps a pace: it
asks less often after a refusal, and a little more often after each success. Together the processes stay close to the
limit, without knowing the limit or each other. Tokens that they leave unused are not lost, because Replicate saves up
some. https://replicate.com/docs/topics/predictions/rate-limits
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

FORGOTTEN_SECONDS = 60.0  # without an answer for so long, a process knows nothing about the limit
FIRST_SECONDS = 1.0  # between two requests, after a first refusal that names no time
SLOW_SECONDS = 5.0  # between two requests: a limit like the one of an account with little credit
MOST_SECONDS = 60.0  # a named time is not believed beyond: one odd answer would stop everybody
LEAST_SECONDS = 0.1  # between two requests; below this, no limit is felt
LONGEST_SECONDS = 12.0  # the longest wait after a refusal that names no time
SOON_SECONDS = 60.0  # a later reset than this is not believed: Replicate does not document its unit
# What a success and a refusal do to the interval. In a crowd about one request in nine is refused, and none is wasted.
SPEED_UP_AT_FIRST = 0.8  # until the second refusal
SPEED_UP = 0.98
SPEED_UP_SLOWLY = 0.994  # at a slow limit, which has no tokens to spare
SLOW_DOWN = 1.15
WAIT_LONGER = 1.5  # after each further refusal in a row
MOST_SAVED = 3  # requests that may follow a pause at once: those of one job
RESTS_SECONDS = 600.0  # the longest time without a try, at a slow limit
ANSWER_SECONDS = 1.5  # to a create request, about
MOST_PASSES = 3  # turns that a process leaves to the others before it tries again


@dataclass(frozen=True, slots=True)
class Left:
    """What Replicate says about its limit beside an answer: `ratelimit-remaining` and `ratelimit-reset`."""

    requests: int
    reset: float | None = None  # seconds

    @property
    def near_reset(self) -> float | None:
        """The reset, if it is believed."""
        return self.reset if self.reset and 0 < self.reset <= SOON_SECONDS else None


class Pace:
    """What a process knows about Replicate's limit from the answers to its own create requests."""

    def __init__(self) -> None:
        self._interval = 0.0  # seconds between two requests; 0: no limit is known
        self._next_at: datetime | None = None
        self._refused_at: datetime | None = None
        self._created_at: datetime | None = None
        self._refusals = 0  # in a row
        self._is_measured = False  # the interval has been too short at least once
        self._losses = 0  # rests in a row
        self._passes = 0  # turns that are still to be left to others

    @property
    def is_slow(self) -> bool:
        """Whether the limit is so low that one process alone uses it up."""
        return self._interval >= SLOW_SECONDS

    def is_throttled(self, now: datetime) -> bool:
        """Return whether a new job had better wait in line: a request would be refused."""
        return self.allowed(now) is not None

    def allowed(self, now: datetime) -> int | None:
        """Return how many requests may be sent now, None for any number."""
        self._forget(now)
        if not self._interval or self._next_at is None:
            return None
        waited = (now - self._next_at).total_seconds()
        most = 1 if self.is_slow else MOST_SAVED
        return 0 if waited < 0 else min(most, 1 + int(waited / self._interval))

    def seconds_to_wait(self, now: datetime) -> float:
        """Return the seconds until a request may be sent."""
        return max(0.0, (self._next_at - now).total_seconds()) if self._next_at else 0.0

    def leaves_the_turn(self, now: datetime) -> bool:
        """Return whether this process should leave its turn to the others, and rest.

        At a slow limit one process is enough, and every other one only takes its place away. So whoever is refused twice
        in a row rests, and then tries ever less often. Calling this counts the turn.
        """
        self._forget(now)
        if self._passes:
            self._passes -= 1
            return True
        if not self.is_slow or self._refusals < (1 if self._losses else 2):
            return False
        self._losses += 1
        self._passes = min(MOST_PASSES, 2**self._losses - 1)
        self._refusals = 0
        return True

    def created(self, now: datetime, left: Left | None = None) -> None:
        """Learn from a prediction that was created."""
        none_left = left is not None and left.requests <= 0
        if none_left:
            self._refused_at = now
            self._interval = self._interval or FIRST_SECONDS
        if self._interval:
            if not self._refusals:
                self._interval *= self._speed_up(at_the_limit=none_left)
            last = self._next_at or now
            # A slow limit saves up nothing, but the interval counts from one request to the next, not from the answer.
            saved = ANSWER_SECONDS if self.is_slow else (MOST_SAVED - 1) * self._interval
            self._next_at = max(last, now - timedelta(seconds=saved)) + timedelta(seconds=self._interval)
            if left and none_left and left.near_reset:
                self._next_at = min(self._next_at, max(last, now + timedelta(seconds=left.near_reset)))
        if self._losses:
            self._is_measured = False  # the limit is another one now
        self._refusals = self._losses = self._passes = 0
        self._created_at = now
        if self._interval and self._interval < LEAST_SECONDS:
            self.__init__()  # type: ignore[misc]  # it knows of no limit any more

    def refused(self, now: datetime, retry_after: float | None) -> None:
        """Learn from a refusal. Several refusals of one round of requests count once.

        Args:
            now: The time.
            retry_after: The seconds that Replicate names, if it does.
        """
        retry_after = min(retry_after, MOST_SECONDS) if retry_after else None
        self._refusals += 1
        if not self._interval:
            self._interval = max(LEAST_SECONDS, min(retry_after or FIRST_SECONDS, LONGEST_SECONDS))
        elif self._refusals == 1:
            if self._created_at and self._refused_at and self._created_at > self._refused_at:
                self._slow_down(now, self._created_at, retry_after)
            # Otherwise nothing succeeded since: an outage refuses again and again, and shows no limit.
        elif not self.is_slow:
            self._interval *= SLOW_DOWN
        longer = min(
            self._interval * WAIT_LONGER ** (self._refusals - 1), max(LONGEST_SECONDS, self._interval)
        )
        wait = (
            max(retry_after, longer if self._refusals > 1 and not self.is_slow else 0)
            if retry_after
            else longer
        )
        self._refused_at = now
        self._next_at = max(self._next_at or now, now + timedelta(seconds=wait))

    def _slow_down(self, now: datetime, created_at: datetime, retry_after: float | None) -> None:
        self._is_measured = True
        slower = self._interval * SLOW_DOWN
        if retry_after:
            # The time from the last success to the next token is the longest interval that makes sense.
            measured = (now - created_at).total_seconds() + retry_after
            slower = min(slower, max(self._interval, measured))
        self._interval = slower

    def _speed_up(self, *, at_the_limit: bool) -> float:
        if not self._is_measured and not at_the_limit:
            return SPEED_UP_AT_FIRST
        return SPEED_UP_SLOWLY if self.is_slow or at_the_limit else SPEED_UP

    def _forget(self, now: datetime) -> None:
        answers = [at for at in (self._refused_at, self._created_at) if at]
        rests = RESTS_SECONDS if self._losses else 0.0  # it asks for nothing meanwhile
        known = FORGOTTEN_SECONDS + 3 * self._interval + rests
        if answers and (now - max(answers)).total_seconds() > known and self.seconds_to_wait(now) == 0:
            self.__init__()  # type: ignore[misc]  # it knows nothing any more

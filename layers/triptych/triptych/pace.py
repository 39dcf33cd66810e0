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
# Between two requests of a process. At such a limit one process alone can use up everything.
SLOW_SECONDS = 1.5
# The longest time that is believed when Replicate names one. One odd answer would stop everybody, and Replicate does not
# document the unit of a reset.
MOST_SECONDS = 60.0
LEAST_SECONDS = 0.1  # between two requests; below this, no limit is felt
LONGEST_SECONDS = 12.0  # the longest wait after a refusal that names no time
# What a success and a refusal do to the interval. In a crowd one request in five to fifteen is refused.
SPEED_UP_AT_FIRST = 0.8  # until the second refusal
SPEED_UP_FROM_SLOW = 0.6  # the same, at a limit that seems slow: it may have been an outage
SPEED_UP = 0.98
SPEED_UP_SLOWLY = 0.997  # at a slow limit, which has no tokens to spare
SLOW_DOWN = 1.15
SLOW_DOWN_ONCE = 1.04  # at a slow limit, after several successes: another process may have been faster
MANY = 30  # successes in a row: the limit is another one now
WAIT_LONGER = 1.5  # after each further refusal in a row
MOST_SAVED = 3  # requests that may follow a pause at once: those of one job
ROUNDED_SECONDS = 0.5  # by which a named time is too long on average: Replicate names whole seconds
RECENT_SECONDS = 30.0  # in which some predictions show that others use up a slow limit


@dataclass(frozen=True, slots=True)
class Left:
    """What Replicate says about its limit beside an answer: `ratelimit-remaining` and `ratelimit-reset`."""

    requests: int
    reset: float | None = None  # seconds

    @property
    def near_reset(self) -> float | None:
        """The reset, if it is believed."""
        return self.reset if self.reset and 0 < self.reset <= MOST_SECONDS else None


class Pace:
    """What a process knows about Replicate's limit from the answers to its own create requests."""

    def __init__(self) -> None:
        self._interval = 0.0  # seconds between two requests; 0: no limit is known
        self._next_at: datetime | None = None
        self._refused_at: datetime | None = None
        self._created_at: datetime | None = None
        self._refusals = 0  # in a row
        self._successes = 0  # in a row
        self._is_measured = False  # the interval has been too short at least once
        self._is_beaten = False  # its last turn was another process's
        self._left: tuple[int, datetime, datetime] | None = None  # requests; until when; when that was asked

    @property
    def is_slow(self) -> bool:
        """Whether the limit is so low that one process alone uses it up."""
        return self._interval >= SLOW_SECONDS

    def is_throttled(self, now: datetime) -> bool:
        """Return whether a new job had better wait in line: a request would be refused."""
        self._forget(now)
        return bool(self._interval and self._next_at)

    def allowed(self, now: datetime) -> int | None:
        """Return how many requests may be sent now, None for any number."""
        self._forget(now)
        left = self._left[0] if self._left and now < self._left[1] else None
        if not self._interval or self._next_at is None:
            return left
        waited = (now - self._next_at).total_seconds()
        most = 1 if self.is_slow else MOST_SAVED
        return 0 if waited < 0 else min(most, 1 + int(waited / self._interval), left or most)

    def seconds_to_wait(self, now: datetime) -> float:
        """Return the seconds until a request may be sent."""
        return max(0.0, (self._next_at - now).total_seconds()) if self._next_at else 0.0

    def loses_the_turn(self, now: datetime) -> bool:
        """Return whether this process should leave its turn to the others, and rest.

        At a slow limit one process is enough, and every other one only takes its place away. So whoever is refused twice
        in a row rests. Its next try, in its next turn, is lost after one refusal. Calling this ends the turn.
        """
        self._forget(now)
        if not self.is_slow or self._refusals < (1 if self._is_beaten else 2):
            return False
        self._is_beaten = True
        self._refusals = 0
        return True

    def asks_for_others(self, now: datetime) -> bool:
        """Return whether this process, before it tries again, should look whether others use up the limit."""
        self._forget(now)
        return self.is_slow and self._is_beaten

    def leaves_it_to_others(self, now: datetime, predictions: int) -> bool:
        """Return whether so many predictions in RECENT_SECONDS show that another process uses up a slow limit.

        None shows that nobody can create any, as in an outage. Many show that the limit is not slow any more.
        """
        used_up = 0 < predictions <= RECENT_SECONDS / SLOW_SECONDS
        if used_up:
            self._refused_at = now  # as good as a refusal, without the request
        return used_up

    def created(self, now: datetime, left: Left | None = None, *, sent: datetime | None = None) -> None:
        """Learn from a prediction that was created.

        Args:
            now: The time.
            left: What Replicate says about its limit, if it does.
            sent: When the request was sent, if that was earlier.
        """
        sent = sent or now
        if left:
            self._note(left, now, sent)
        none_left = left is not None and left.requests <= 0
        if none_left:
            self._refused_at = now
            self._interval = self._interval or FIRST_SECONDS
        if self._interval:
            if not self._refusals:
                self._interval *= self._speed_up(at_the_limit=none_left)
            last = self._next_at or now
            # A slow limit saves up nothing, but the interval counts from one request to the next, not from the answer.
            since = sent if self.is_slow else now - (MOST_SAVED - 1) * timedelta(seconds=self._interval)
            self._next_at = max(last, since) + timedelta(seconds=self._interval)
            if left and none_left and left.near_reset:
                self._next_at = min(self._next_at, max(last, now + timedelta(seconds=left.near_reset)))
        if self._is_beaten:
            self._is_measured = False  # the limit is another one now
        self._is_beaten = False
        self._refusals = 0
        self._successes += 1
        self._created_at = sent
        if self._interval and self._interval < LEAST_SECONDS:
            self.__init__()  # type: ignore[misc]  # it knows of no limit any more

    def refused(self, now: datetime, retry_after: float | None, *, sent: datetime | None = None) -> None:
        """Learn from a refusal. Several refusals of one round of requests count once.

        Args:
            now: The time.
            retry_after: The seconds that Replicate names, if it does.
            sent: When the requests were sent, if that was earlier.
        """
        sent = sent or now
        retry_after = min(retry_after, MOST_SECONDS) if retry_after else None
        self._refusals += 1
        if not self._interval:
            self._interval = max(LEAST_SECONDS, min(retry_after or FIRST_SECONDS, LONGEST_SECONDS))
        elif self._refusals == 1:
            if self._created_at and self._refused_at and self._created_at > self._refused_at:
                self._slow_down(sent, self._created_at, retry_after)
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
        self._refused_at = sent
        self._successes = 0
        self._next_at = max(self._next_at or now, now + timedelta(seconds=wait))

    def _note(self, left: Left, now: datetime, sent: datetime) -> None:
        """Keep the number of requests that are left, if they are few. Of the answers to one round, the lowest counts."""
        known = self._left[0] if self._left and self._left[2] == sent else MOST_SAVED
        requests = max(1, min(known, left.requests))
        until = now + timedelta(seconds=left.near_reset or FIRST_SECONDS)
        self._left = (requests, until, sent) if requests < MOST_SAVED else None

    def _slow_down(self, sent: datetime, created_at: datetime, retry_after: float | None) -> None:
        self._is_measured = True
        slower = self._interval * (SLOW_DOWN_ONCE if self.is_slow and self._successes > 1 else SLOW_DOWN)
        if retry_after:
            # The time from the last success to the next token is the longest interval that makes sense.
            measured = (sent - created_at).total_seconds() + retry_after - ROUNDED_SECONDS
            slower = min(slower, max(self._interval, measured))
        self._interval = slower

    def _speed_up(self, *, at_the_limit: bool) -> float:
        if not self._is_measured and not at_the_limit:
            return SPEED_UP_FROM_SLOW if self.is_slow else SPEED_UP_AT_FIRST
        at_the_limit = at_the_limit or (self.is_slow and self._successes < MANY)
        return SPEED_UP_SLOWLY if at_the_limit else SPEED_UP

    def _forget(self, now: datetime) -> None:
        answers = [at for at in (self._refused_at, self._created_at) if at]
        known = FORGOTTEN_SECONDS + 3 * self._interval
        if answers and (now - max(answers)).total_seconds() > known and self.seconds_to_wait(now) == 0:
            self.__init__()  # type: ignore[misc]  # it knows nothing any more

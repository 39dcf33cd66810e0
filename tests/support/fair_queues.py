"""The order in which a fair queue of SQS delivers messages.

A group that uses much of the consumers' time, or has many messages in flight, is noisy: messages of other groups come
first. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html names the
thresholds and calls them approximate. It does not say what "recent" means. So no test may need exact ones.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

SHARE = 0.1
MOST_IN_FLIGHT = 30
RECENT_SECONDS = 60.0


class FairOrder:
    """What a queue knows about its groups. Times are seconds on any clock."""

    def __init__(self) -> None:
        self._done: deque[tuple[str, float, float]] = deque()  # group, received, deleted or put back
        self._in_flight: dict[Hashable, tuple[str, float]] = {}  # by message: group, received

    def received(self, group: str | None, message: Hashable, now: float) -> None:
        if group is not None:
            self._in_flight[message] = (group, now)

    def ended(self, message: Hashable, now: float) -> None:
        """Note that a message was deleted or put back."""
        if found := self._in_flight.pop(message, None):
            self._done.append((*found, now))
            self._forget(now)

    def noisy(self, now: float) -> set[str]:
        """Return the groups whose messages have to wait for the others'."""
        self._forget(now)
        used: defaultdict[str, float] = defaultdict(float)
        count: defaultdict[str, int] = defaultdict(int)
        for group, since, until in self._done:
            used[group] += until - max(since, now - RECENT_SECONDS)
        for group, since in self._in_flight.values():
            used[group] += now - max(since, now - RECENT_SECONDS)
            count[group] += 1
        slow = {group for group, seconds in used.items() if seconds > SHARE * sum(used.values())}
        most = max(MOST_IN_FLIGHT - 1, SHARE * len(self._in_flight))
        return slow | {group for group, messages in count.items() if messages > most}

    def sort[T](self, waiting: Sequence[tuple[str | None, T]], now: float) -> list[T]:
        """Return the waiting messages in the order of their delivery.

        Args:
            waiting: The group and the message, the oldest first.
            now: The time.
        """
        noisy = self.noisy(now)
        return [message for _, message in sorted(waiting, key=lambda one: one[0] in noisy)]

    def _forget(self, now: float) -> None:
        while self._done and self._done[0][2] < now - RECENT_SECONDS:
            self._done.popleft()

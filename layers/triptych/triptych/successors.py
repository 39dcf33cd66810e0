"""Which messages are copies of one that still has to come. Pure.

SQS may deliver a message twice, and keeps a message whose answer was lost. If each copy had a successor of its own, and
that one copies again, an outage would make more and more of them.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable
    from datetime import datetime

# By which the clocks of two processes may differ, or SQS may deliver a message before its delay ends. Without this, two
# processes could each drop the successor that the other one waits for.
CLOCKS = timedelta(seconds=2)
MOST_KEPT = 1_000  # messages that a process remembers; the oldest are forgotten


class Successors:
    """The latest successor of each message, as far as this process has sent it.

    A message counts as a copy only while its successor is delayed for longer than clocks differ. So the message that
    comes last never does, and what it is about always has one message.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, tuple[str, datetime]] = OrderedDict()

    def sent(self, what: Hashable, message_id: str, due: datetime) -> None:
        """Remember a successor that SQS has accepted.

        Args:
            what: The content that the message and its successor share.
            message_id: The successor's id.
            due: When its delay ends.
        """
        self._known[what] = (message_id, due)
        self._known.move_to_end(what)
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)

    def has_later(self, what: Hashable, message_id: str, now: datetime) -> bool:
        """Return whether another message with this content is sure to come later than this one."""
        later_id, due = self._known.get(what, (message_id, now))
        return later_id != message_id and now + CLOCKS < due

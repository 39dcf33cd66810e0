"""Which messages are copies of one that was sent later. Pure.

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

# By which the clocks of SQS and of a process may differ. A message and its successor are at least 5 s apart, while the
# watchdog waits for something that a request announced and has not stored yet.
CLOCKS = timedelta(seconds=3)
MOST_KEPT = 1_000  # messages that a process remembers; the oldest are forgotten


class Successors:
    """When this process has sent the latest successor of each message.

    A message counts as a copy only if a message with the same content was sent later. So the one that was sent last never
    does: what it is about always has a message, until a look finds nothing left to do.
    """

    def __init__(self) -> None:
        self._sent: OrderedDict[Hashable, datetime] = OrderedDict()

    def sent(self, what: Hashable, at: datetime) -> None:
        """Remember a successor that SQS has accepted.

        Args:
            what: The content that the message and its successor share.
            at: The time just before the successor was sent.
        """
        self._sent[what] = at
        self._sent.move_to_end(what)
        if len(self._sent) > MOST_KEPT:
            self._sent.popitem(last=False)

    def has_later(self, what: Hashable, sent_at: datetime) -> bool:
        """Return whether a message with this content was sent later than one that was sent then."""
        later = self._sent.get(what)
        return later is not None and sent_at + CLOCKS < later

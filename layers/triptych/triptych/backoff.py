"""How long a job waits before its next requests to Replicate. Pure, except for the jitter.

The job's message waits in the generation queue. SQS gives a message up after the queue's `maxReceiveCount`, which
template.yaml sets.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from triptych.deadlines import deadline
from triptych.job import ImageStatus

if TYPE_CHECKING:
    from datetime import datetime

    from triptych.job import Job

LONGEST_SECONDS = 300
# The longest wait after a 429 that names no time. Many throttled jobs use up Replicate's limit however long each waits;
# a longer wait would leave the limit unused while the last of them wait.
TURN_SECONDS = 12
# After so many receives, a new message replaces the old one, before SQS gives that up. Replacing it at each receive
# would multiply a message that SQS delivers twice.
MOST_RECEIVES = 15
_MOST_DOUBLINGS = 10


def seconds_after(tries: int, longest: int = LONGEST_SECONDS) -> float:
    """Return the seconds to wait after so many tries: doubled each time up to about `longest`, with jitter."""
    wait = min(longest, 2.0 ** min(tries, _MOST_DOUBLINGS)) * random.uniform(0.75, 1.25)  # noqa: S311  # no secret
    return min(LONGEST_SECONDS, wait)


def seconds_after_refusal(attempt: int, retry_after: float | None, *, throttled: bool) -> float:
    """Return the seconds until an image's next attempt, after Replicate provably made no prediction.

    Args:
        attempt: The attempt that was refused.
        retry_after: The seconds that Replicate named, if any.
        throttled: Whether the answer was 429.
    """
    wait = retry_after or seconds_after(attempt - 1, TURN_SECONDS if throttled else LONGEST_SECONDS)
    return min(LONGEST_SECONDS, max(wait, 1.0))


def seconds_until_next(job: Job | None, receives: int, now: datetime) -> int | None:
    """Return the seconds until the job's message should be delivered again; None if the message is done.

    Args:
        job: The job, or None if it was deleted.
        receives: How often the message was received.
        now: The time.
    """
    unasked = job.having(ImageStatus.PENDING, ImageStatus.REQUESTING) if job else []
    if not job or not unasked or (job.started_at and now >= deadline(job)):
        return None
    told = any(image.status is ImageStatus.PENDING and image.not_before for image in unasked)
    wait = seconds_after(receives, TURN_SECONDS if told else LONGEST_SECONDS)
    for image in unasked:
        if image.not_before and image.not_before > now:
            until = (image.not_before - now).total_seconds()
            # An image in doubt may be found in the list earlier. A pending one must wait until then.
            wait = min(wait, until) if image.status is ImageStatus.REQUESTING else max(wait, until)
    return max(1, min(round(wait + 0.5), LONGEST_SECONDS))


def is_worn_out(receives: int) -> bool:
    """Return whether a message must be replaced by a new one instead of being put back."""
    return receives >= MOST_RECEIVES

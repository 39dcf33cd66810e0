"""Back-off: how long to wait before the next request to Replicate. Pure, except for the jitter.

The wait happens in the generation queue: the job's message is put back for that long. SQS gives a message up after the queue's
`maxReceiveCount` in template.yaml. A job that waits for Replicate's rate limit waits elsewhere: see `pace`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from triptych.deadlines import deadline
from triptych.job import ImageStatus
from triptych.pace import MOST_SECONDS

if TYPE_CHECKING:
    from datetime import datetime

    from triptych.job import Job

LONGEST_SECONDS = 300
# A message that was received so often is replaced by a new one, before SQS gives it up. It is not replaced each time:
# a message that SQS delivers twice would become more and more messages.
MOST_RECEIVES = 15
FACTOR = 2.0  # of each wait to the wait before it
_MOST_STEPS = 10


def seconds_after(tries: int) -> float:
    """Return the seconds to wait after so many tries.

    Each wait is `FACTOR` times the wait before it. A jitter of ±25 % is then added. The result is at most
    `LONGEST_SECONDS`.
    """
    wait = FACTOR ** min(tries, _MOST_STEPS) * random.uniform(0.75, 1.25)  # noqa: S311  # no secret
    return min(LONGEST_SECONDS, wait)


def seconds_after_refusal(attempt: int, retry_after: float | None, *, throttled: bool) -> float:
    """Return the seconds until an image's next attempt, after Replicate provably created no prediction.

    Args:
        attempt: The attempt that was refused.
        retry_after: The seconds that Replicate named, if it did.
        throttled: Whether it was a 429. Without a named time, its job's place in the line decides.
    """
    if throttled:
        return min(MOST_SECONDS, retry_after or 0.0)
    return min(LONGEST_SECONDS, max(retry_after or seconds_after(attempt - 1), 1.0))


def seconds_until_next(job: Job | None, receives: int, now: datetime) -> int | None:
    """Return the seconds until the job's message should be delivered again.

    Args:
        job: The job, or None if it was deleted.
        receives: How often the message was received.
        now: The time.

    Returns:
        None if the message has no more to do.
    """
    without_prediction = job.having(ImageStatus.PENDING, ImageStatus.REQUESTING) if job else []
    if not job or not without_prediction or (job.started_at and now >= deadline(job)):
        return None
    wait = seconds_after(receives)
    for image in without_prediction:
        if image.not_before:
            wait = max(wait, (image.not_before - now).total_seconds())
        elif image.in_doubt_until and image.in_doubt_until > now:  # it may be found in the list earlier
            wait = min(wait, (image.in_doubt_until - now).total_seconds())
    return max(1, min(round(wait + 0.5), LONGEST_SECONDS))


def is_worn_out(receives: int) -> bool:
    """Return whether a message must be replaced by a new one instead of being put back."""
    return receives >= MOST_RECEIVES

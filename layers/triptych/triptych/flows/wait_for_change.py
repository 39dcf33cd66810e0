"""A client that waits for a change of its job, in place of asking again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from triptych.aws import seats
from triptych.flows import record
from triptych.runtime import clock

if TYPE_CHECKING:
    from triptych.job import Job

LONGEST_WAIT = 20  # seconds; API Gateway waits for 30
STEP_SECONDS = 0.5  # between two reads


def wait_for_change(job: Job, seconds: float) -> Job | None:
    """Return the job as soon as it differs from the given one, or after `seconds`; None if it was deleted.

    This returns at once if the job has ended, and if as many clients wait as the stack allows.
    """
    if job.status.is_terminal or seconds <= 0:
        return job
    ends_at = clock.monotonic() + seconds
    with seats.seat(job.owner, seconds + STEP_SECONDS) as seated:
        for _ in range(math.ceil(seconds / STEP_SECONDS)) if seated else ():
            left = ends_at - clock.monotonic()
            if left <= 0:  # reads were slow
                break
            clock.sleep(min(STEP_SECONDS, left))
            now = record.read(job.job_id)
            if now is None or now.version != job.version:
                return now
    return job

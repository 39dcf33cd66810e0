"""Looking after a job until it has ended."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from triptych.aws import table
from triptych.deadlines import deadline, upload_deadline
from triptych.flows import cleanup
from triptych.job import Job, JobStatus
from triptych.runtime import clock
from triptych.runtime.observability import about
from triptych.settings import settings

if TYPE_CHECKING:
    from triptych.aws.queues import WatchdogMessage

BIRTH_SECONDS = 60  # the message is sent before the job is stored; no create takes longer than this


def look(message: WatchdogMessage) -> int | None:
    """Look at a job, and do for it what is to be done.

    Returns:
        in how many seconds to look again, or None: there is nothing left to do.
    """
    about(message.job_id)
    job = table.get(message.job_id)
    if message.left is not None:
        return cleanup.clean_up(message, message.left, job)
    if job is None or message.born_at > job.watched_since:
        # Sent before it was stored; or it never will be, or has been deleted.
        unborn = clock.now() < message.born_at + timedelta(seconds=BIRTH_SECONDS)
        return settings().watchdog_delay_seconds if unborn else None
    if message.born_at < job.watched_since:
        return None  # another message looks after it now
    if job.status is JobStatus.CANCELED:
        return cleanup.stop(job.job_id, job.watched_since, cleanup.left_running(job))
    if job.status.is_terminal:
        return None
    from triptych.flows import finish  # noqa: PLC0415  # what it imports takes long, and most jobs have ended by now

    after = finish.finish(job)
    return None if after is None or after.status.is_terminal else _next_look(after)


def _next_look(job: Job) -> int:
    end = deadline(job) if job.started_at else upload_deadline(job)
    left = (end - clock.now()).total_seconds()
    delay = settings().watchdog_delay_seconds
    # Past the end, the photo is there and was handed to `generate`: that shall have its time.
    return delay if left < 0 else min(delay, int(left) + 1)

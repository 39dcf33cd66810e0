"""Watch a job until it has ended: the watchdog's looks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from triptych.aws import queues
from triptych.deadlines import deadline, upload_deadline
from triptych.flows import cleanup, record
from triptych.job import ImageStatus, Job, JobStatus, waits_in_line
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import about_job
from triptych.settings import settings

if TYPE_CHECKING:
    from datetime import datetime

    from triptych.aws.queues import WatchdogMessage

LOOK_SECONDS = 32.0  # of the function's 40
SOON_SECONDS = 5
# The alarm FunctionErrors counts in 15 minutes, and a job whose looks all fail must set it off.
FAILED_SECONDS = 300
# SQS repeats a look that dies after the queue's visibility timeout, 240 s. Here the first ones are repeated sooner, but not
# before the function's timeout of 40 s: no look overlaps the next one. Only the first: a message has 20 deliveries.
REPEAT_SECONDS = 45
REPEATED_RECEIVES = 3
# Of a message whose looks have all died: 42 minutes. A function that cannot start uses up receives too, without a look.
# After such an outage a look must still fetch what is ready, and an hour after its end Replicate has lost an output.
FATAL_RECEIVES = 13
CREATION_SECONDS = 60  # the message is sent before the job is stored; no create request takes longer


def look(message: WatchdogMessage, receives: int, receipt_handle: str) -> int | None:
    """Look at a job and do whatever it needs now.

    Args:
        message: Which job.
        receives: How often SQS has delivered the message. Each earlier look has died, or could not send a message.
        receipt_handle: Of this delivery.

    Returns:
        In how many seconds to look again, or None if nothing is left to do.
    """
    budget = TimeBudget(LOOK_SECONDS)
    about_job(message.job_id)
    if receives <= REPEATED_RECEIVES:
        queues.repeat_if_it_dies(receipt_handle, seconds=REPEAT_SECONDS)  # first: a look may die anywhere
    job = record.read(message.job_id)
    if message.left is not None:
        return cleanup.clean_up(message, job)
    if since := _not_stored_since(message, job):
        return SOON_SECONDS if clock.now() < since + timedelta(seconds=CREATION_SECONDS) else None
    if job is None or message.born_at < job.watched_since:
        return None  # the message of a later retry watches the job
    if job.status is JobStatus.CANCELED:
        return cleanup.stop(job.job_id, job.updated_at, cleanup.running_predictions(job))
    if job.status.is_terminal:
        return None
    from triptych.flows import finish  # noqa: PLC0415  # slow to import, and most jobs have ended by now

    began = clock.now()
    after = finish.finish(job, budget, fatal=receives > FATAL_RECEIVES)
    return None if after is None or after.status.is_terminal else _next_look(after, began)


def seconds_after_failure(message: WatchdogMessage) -> int:
    """Return in how many seconds to look again after a look that failed. A canceled job's predictions cost money."""
    if since := message.canceled_at or (message.born_at if message.left is not None else None):
        return cleanup.patience(since, clock.now())
    return min(settings().watchdog_delay_seconds, FAILED_SECONDS)


def _not_stored_since(message: WatchdogMessage, job: Job | None) -> datetime | None:
    """Return when the message announced something that is not stored: it will be soon, or never. None: all is stored."""
    if (
        job is None or message.born_at > job.watched_since
    ):  # the job, or its retry; or the job has been deleted
        return message.born_at
    awaits_cancel = message.born_at == job.watched_since and not job.status.is_terminal
    return message.canceled_at if awaits_cancel else None


def _next_look(job: Job, began: datetime) -> int:
    """Return in how many seconds to look again, after a look that `began` then."""
    now = clock.now()
    watched = int((now - (job.started_at or job.watched_since)).total_seconds())
    # Ever less often: most lost webhooks are found soon, and each look costs.
    delay = min(settings().watchdog_delay_seconds, max(settings().first_look_seconds, watched))
    end = deadline(job) if job.started_at else upload_deadline(job)
    doubtful = [] if waits_in_line(job) else job.having(ImageStatus.REQUESTING)
    doubts = [image.in_doubt_until for image in doubtful if image.in_doubt_until]
    if any(began < moment <= now for moment in (end, *doubts)):
        # The look was too early to end the job or the doubt, and perhaps nothing else does.
        return SOON_SECONDS
    # `generate` settles a doubt when it ends, if it lives. The look comes a little later, so that they do not meet.
    moments = [end, *(doubt + timedelta(seconds=SOON_SECONDS) for doubt in doubts if doubt > now)]
    # Past its end, an open job has a photo that was passed to `generate`, which needs time.
    waits = [int((moment - now).total_seconds()) + 1 for moment in moments if moment >= now]
    return min([delay, *waits])

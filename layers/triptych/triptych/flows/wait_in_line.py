"""Wait in line for Replicate's rate limit.

A job that Replicate refuses for now enters the waiting queue, and so does one that comes while many photos wait. SQS
serves the owners of that queue in turn. Few invocations read it, and each waits in place until it may create predictions:
so the messages keep their order, and only one request in five to fifteen is refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from triptych import backoff
from triptych.aws import bucket, queues
from triptych.flows import generate, open_photo, record
from triptych.job import ImageStatus, Job, UploadArrived
from triptych.pace import RECENT_SECONDS
from triptych.replicate import listing
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import about_job, logger

if TYPE_CHECKING:
    from datetime import datetime

    from triptych.pace import Pace

TURN_SECONDS = 32.0  # a round of requests after it takes up to 13 s, and the function has 50
REST_SECONDS = 40.0
LOOK_AGAIN_SECONDS = 20  # at a photo that another invocation opens
CROWD_SECONDS = 2.0  # a photo that waits longer for an invocation waits behind many


def pass_on(job_id: str, key: str, *, again: bool = False) -> bool:
    """Let a photo that waits behind many others wait in the owners' line instead.

    It is not opened here, so that this takes a few milliseconds.

    Args:
        job_id: The job.
        key: Where the photo lies.
        again: An invocation may have died while it opened this photo. If it was opened, it need not wait in line.

    Returns:
        Whether it waits in line, or its job needs nothing any more.
    """
    job = open_photo.job_of(job_id, key)
    if job is None or job.status.is_terminal:
        return True
    if again and job.has_photo:
        return False
    if job.uploaded_at is None:
        seen = bucket.look_at(key)
        if seen is None:
            return False
        job = record.move_on(job, UploadArrived(key, seen.stored_at, inspected=False)).job
    if job is None or job.status.is_terminal:
        return False
    _enter(job, 0, again=again)
    return True


def enter_if_throttled(job: Job | None, pace: Pace) -> bool:
    """Let the job wait in line if it has images without a prediction and Replicate throttles the account.

    Returns:
        Whether it waits in line.
    """
    now = clock.now()
    if job is None or not pace.is_throttled(now) or not generate.unasked(job, now):
        return False
    _enter(job, _delay(job, pace))
    return True


def take_turn(job_id: str, key: str, pace: Pace, *, again: bool, entered_at: datetime | None = None) -> float:
    """Create what a job at the head of the line still needs, as fast as Replicate's limit allows.

    If the limit does not allow it within TURN_SECONDS, the job goes back to the end of its owner's line, unless a later
    message for it is there.

    Args:
        job_id: The job.
        key: Where its photo lies.
        pace: What this process knows about the limit.
        again: The message is delivered again.
        entered_at: When the job entered the line again, according to the message.

    Returns:
        How many seconds this process should rest, because others use up the limit. The job is theirs now.

    Raises:
        table.ConflictError: Too many races were lost; call again later.
    """
    rest, turn = TimeBudget(REST_SECONDS), TimeBudget(TURN_SECONDS)
    leaves = _leaves_at_once(pace)
    job = _read(job_id) if leaves else open_photo.photo_arrived(job_id, key, pace, again=again)
    while job and not leaves and (wait := _seconds_to_wait(job, pace)) is not None:
        if turn.is_spent or wait > turn.seconds_left:
            break
        clock.sleep(wait)
        job = generate.ask_in_turn(job, pace)
        leaves = pace.loses_the_turn(clock.now())
    if job is None or job.status.is_terminal:
        return 0.0
    if generate.unasked(job, clock.now()):
        if _is_replaced(job, entered_at):
            logger.info("waits in line with a later message")
        elif leaves:
            _enter(job, 0, again=again)
        elif job.has_photo:
            _enter(job, _delay(job, pace))
        else:
            _enter(job, LOOK_AGAIN_SECONDS, again=True)  # another invocation opens the photo
        return rest.seconds_left if leaves else 0.0
    if job.having(ImageStatus.REQUESTING):
        # Nothing to wait for in line: its doubts are settled by Replicate's list.
        wait_for_list = backoff.seconds_until_next(job, 1, clock.now())
        if wait_for_list is not None:
            queues.send_to_generation(job.job_id, job.photo.key, again=True, delay=wait_for_list)
    return 0.0


def _leaves_at_once(pace: Pace) -> bool:
    """Return whether a process that was beaten at a slow limit should rest again: others still use the limit up."""
    now = clock.now()
    if pace.loses_the_turn(now):
        return True
    if not pace.asks_for_others(now):
        return False
    try:
        created = listing.created_since(now - timedelta(seconds=RECENT_SECONDS))
    except ReplicateUnavailableError as error:
        logger.warning("the list of predictions cannot be read", reason=str(error))
        return False
    return pace.leaves_it_to_others(now, created)


def _read(job_id: str) -> Job | None:
    about_job(job_id)
    return record.read(job_id)


def _is_replaced(job: Job, entered_at: datetime | None) -> bool:
    """Return whether the job has a later message in line than the one that entered then."""
    latest = job.entered_again_at
    return latest is not None and (entered_at is None or entered_at < latest)


def _enter(job: Job, delay: int, *, again: bool = False) -> None:
    queues.send_to_waiting(
        job.job_id,
        job.photo.key,
        job.owner,
        entered_at=job.entered_again_at,
        again=again,
        delay=delay,
    )
    logger.info("waits in line", seconds=delay)


def _delay(job: Job, pace: Pace) -> int:
    """Return how long to keep the job out of the line: 0, unless nobody could take a turn for so long."""
    wait = _seconds_to_wait(job, pace)
    return round(wait) if wait is not None and wait > TURN_SECONDS else 0


def _seconds_to_wait(job: Job, pace: Pace) -> float | None:
    """Return the seconds until the job may be asked for; None if it needs no more predictions."""
    now = clock.now()
    unasked = generate.unasked(job, now)
    if not unasked or not job.has_photo:
        return None
    named = min(image.not_before or now for image in unasked)
    return max((named - now).total_seconds(), pace.seconds_to_wait(now))

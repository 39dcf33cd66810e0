"""Clean up after a canceled or deleted job: predictions that run on, and objects that arrive late."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from triptych.aws import bucket, queues
from triptych.aws.queues import RunningPrediction, WatchdogMessage
from triptych.deadlines import upload_deadline
from triptych.flows import record
from triptych.job import LONGEST_RUN, ImageStatus, Job
from triptych.replicate.tags import Tag
from triptych.runtime import clock
from triptych.runtime.observability import logger, unexpected
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

# A deleted job's id becomes no other job's for longer than this. The clocks of two functions differ by less.
BLOCKED = timedelta(days=record.GONE_DAYS) / 2
# A copy that was under way when the job was deleted has arrived by then.
IN_FLIGHT_SECONDS = 300
# Until a failed cancellation is tried again: the shortest and the longest wait. Each wait is as long as all before it, so
# that few looks are needed. A message that SQS delivers twice has two successors, so many looks would become too many.
CANCEL_SECONDS = (5, 300)
# The longest wait until the list is read again for a prediction in doubt: it may be created, or listed, in the meantime.
DOUBT_SECONDS = 60


def running_predictions(job: Job) -> tuple[RunningPrediction, ...]:
    """Return the predictions of a job that run, or may run."""
    return tuple(
        RunningPrediction(
            image=image.index,
            attempt=image.attempt,
            prediction_id=image.prediction_id,
            asked_at=image.asked_at,
            in_doubt_until=image.in_doubt_until,
        )
        for image in job.having(ImageStatus.REQUESTING, ImageStatus.GENERATING, ImageStatus.CANCELED)
        if image.prediction_id or image.in_doubt_until
    )


def deletion(job: Job) -> WatchdogMessage:
    """Return the message that has the watchdog clean up after this deleted job."""
    return WatchdogMessage(
        job_id=job.job_id,
        born_at=clock.now(),
        left=running_predictions(job),
        uploads_until=upload_deadline(job),
        group=queues.group_of(job.owner),
    )


def stop(job_id: str, since: datetime, running: Sequence[RunningPrediction]) -> int | None:
    """Cancel predictions that are no longer needed. A prediction in doubt is looked up in Replicate's list.

    Args:
        job_id: The job that they belong to.
        since: When they ceased to be needed.
        running: The predictions.

    Returns:
        In how many seconds to look again, or None.
    """
    # These take long to import. `api` and most looks of the watchdog send no request to Replicate.
    from triptych.flows import doubts  # noqa: PLC0415
    from triptych.replicate import listing, predictions  # noqa: PLC0415

    now = clock.now()
    # `Cancel-After` has ended a prediction by then. A deployment may have lowered the deadline meanwhile.
    running = [one for one in running if one.asked_at is None or now < one.asked_at + LONGEST_RUN]
    ids = [one.prediction_id for one in running if one.prediction_id]
    doubtful = {Tag(job_id, one.image, one.attempt): one for one in running if one.prediction_id is None}
    unfound: list[datetime] = []
    listed = doubts.read_list(doubtful, since, now) if doubtful else listing.Listed([])
    for tag, one in doubtful.items():
        found = listed.of(tag) if listed else []
        ids += found
        if not found and one.in_doubt_until:
            asked_at = one.asked_at or since
            lag = timedelta() if listed and listed.covers(asked_at) else listing.LONGEST_LAG
            unfound.append(max(one.in_doubt_until, asked_at + lag))
    left = max((math.ceil((until - now).total_seconds()) for until in unfound), default=0)
    unsure = not predictions.cancel_all(ids) or listed is None or not listed.steady
    is_late = now >= since + timedelta(seconds=settings().generation_deadline_seconds)
    if left > 0 and (listed is not None or is_late):
        return min(left, DOUBT_SECONDS, patience(since, now))
    return patience(since, now) if unsure and not is_late else None


def patience(since: datetime, now: datetime) -> int:
    """Return the seconds to wait, after looks since then."""
    shortest, longest = CANCEL_SECONDS
    return min(longest, max(shortest, int((now - since).total_seconds())))


def clean_up(message: WatchdogMessage, job: Job | None) -> int | None:
    """Cancel the predictions of a deleted job, and remove its objects, also those that arrive later.

    Returns:
        In how many seconds to look again, or None.
    """
    deleted_at, running = message.born_at, message.left or ()
    if job and job.created_at > deleted_at + BLOCKED:
        # An idempotency key has produced the id again: this is another job, and the message is an old one.
        logger.warning("the deleted job's id belongs to a new job")
        return None
    if job:
        _delete(job, message, running)
        return None
    now = clock.now()
    again = stop(message.job_id, deleted_at, running)
    _remove_objects(message)
    # An upload URL of the job is valid again once its photo is removed.
    ends = deleted_at + timedelta(seconds=IN_FLIGHT_SECONDS)
    if message.uploads_until:
        ends = max(ends, message.uploads_until)
    left = math.ceil((ends - now).total_seconds()) + 1 if now <= ends else None
    return again or left


def _delete(job: Job, message: WatchdogMessage, running: Sequence[RunningPrediction]) -> None:
    """Delete the record of a deletion that was cut off, and clean up.

    Before that, a new message is sent, which also names the predictions of the record. It takes the given message's
    place, whatever fails here. If both had successors, an outage would make more and more of them.
    """
    current: Job | None = job
    while current:
        running = [*running, *(one for one in running_predictions(current) if one not in running)]
        following = message.model_copy(update={"left": tuple(running)})
        queues.send_to_watchdog(following, delay=patience(message.born_at, clock.now()))
        try:
            current = record.delete(current)
        except Exception:  # noqa: BLE001  # see above
            unexpected("the record is not deleted yet")
            break
    try:
        stop(message.job_id, message.born_at, running)
        if current is None:
            _remove_objects(message)
    except Exception:  # noqa: BLE001  # see above
        unexpected("not cleaned up yet")


def _remove_objects(message: WatchdogMessage) -> None:
    age = int((clock.now() - message.born_at).total_seconds())
    logger.info("cleaned up", removed=bucket.remove_all(message.job_id), age=age)

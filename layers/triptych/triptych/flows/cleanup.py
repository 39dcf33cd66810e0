"""What is left of a job that nobody waits for any more: predictions that run on, and what arrives late."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from triptych.aws import bucket, table
from triptych.aws.queues import Left, WatchdogMessage
from triptych.flows import create
from triptych.job import ImageStatus, Job
from triptych.replicate.tags import Tag
from triptych.runtime import clock
from triptych.runtime.observability import logger
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

GONE_DAYS = 2  # longer than anything at Replicate may still tell of a job
IN_FLIGHT_SECONDS = (
    300  # what was under way when a job was deleted (a webhook's copy, an upload) has arrived by then
)


def delete_record(job_id: str) -> None:
    """Delete a job's record. Where a key would bring forth its id again, that is kept from it for a while."""
    keep = create.is_keyed(job_id)
    table.delete(job_id, until=clock.now() + timedelta(days=GONE_DAYS) if keep else None)


def left_running(job: Job) -> tuple[Left, ...]:
    """The predictions that run on, or may, when nobody waits for the job any more."""
    return tuple(
        Left(
            image=image.index,
            attempt=image.attempt,
            prediction_id=image.prediction_id,
            in_doubt_until=image.not_before,
        )
        for image in job.having(ImageStatus.REQUESTING, ImageStatus.GENERATING, ImageStatus.CANCELED)
        if image.attempt and (image.prediction_id or image.not_before)
    )


def stop(job_id: str, since: datetime, left: Sequence[Left]) -> int | None:
    """Cancel what runs on for nothing. What may have been made and is not known is looked for while that is in doubt.

    Args:
        job_id: the job that wants them no more.
        since: before which none of them was made.
        left: the predictions.

    Returns:
        in how many seconds to look again, or None.
    """
    # They take long to import, and neither `api` nor most of the watchdog's looks ask Replicate for anything.
    from triptych.replicate import predictions, transport  # noqa: PLC0415

    for one in left:
        if one.prediction_id:
            predictions.cancel(one.prediction_id)
    doubtful = {Tag(job_id, one.image, one.attempt): one for one in left if one.prediction_id is None}
    if not doubtful:
        return None
    try:
        listed = predictions.tagged_since(since)
    except transport.ReplicateUnavailable as error:
        logger.warning("the list of predictions cannot be read", reason=str(error))
        listed = {}
    for tag in doubtful.keys() & listed.keys():
        predictions.cancel(listed[tag])
    until = [one.in_doubt_until for tag, one in doubtful.items() if tag not in listed and one.in_doubt_until]
    seconds = max(((moment - clock.now()).total_seconds() for moment in until), default=0)
    return int(seconds) + 1 if seconds > 0 else None


def clean_up(message: WatchdogMessage, left: Sequence[Left], job: Job | None) -> int | None:
    """Stop what a deleted job has left running, and remove what arrives after it."""
    deleted_at = message.born_at
    if job:  # the deletion was cut off
        delete_record(job.job_id)
    age = (clock.now() - deleted_at).total_seconds()
    logger.info("cleaned up", removed=bucket.remove_all(message.job_id), age=int(age))
    # When the job was asked for is known no more, but it cannot be longer ago than the deadline.
    since = deleted_at - timedelta(seconds=settings().generation_deadline_seconds)
    again = stop(message.job_id, since, left)
    return again or (int(IN_FLIGHT_SECONDS - age) + 1 if age < IN_FLIGHT_SECONDS else None)

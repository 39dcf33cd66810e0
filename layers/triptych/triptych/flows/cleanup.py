"""Clean up after a canceled or deleted job: predictions that run on, and objects that arrive late."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from triptych.aws import bucket
from triptych.aws.queues import RunningPrediction, WatchdogMessage
from triptych.flows import record
from triptych.job import ImageStatus, Job
from triptych.replicate.tags import Tag
from triptych.runtime import clock
from triptych.runtime.observability import logger
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

# A copy or an upload that was under way when the job was deleted has arrived by then.
IN_FLIGHT_SECONDS = 300


def running_predictions(job: Job) -> tuple[RunningPrediction, ...]:
    """Return the predictions of a job that run, or may run."""
    return tuple(
        RunningPrediction(
            image=image.index,
            attempt=image.attempt,
            prediction_id=image.prediction_id,
            in_doubt_until=image.not_before,
        )
        for image in job.having(ImageStatus.REQUESTING, ImageStatus.GENERATING, ImageStatus.CANCELED)
        if image.attempt and (image.prediction_id or image.not_before)
    )


def stop(job_id: str, since: datetime, running: Sequence[RunningPrediction]) -> int | None:
    """Cancel predictions that are no longer needed. A prediction in doubt is looked up in Replicate's list.

    Args:
        job_id: The job that they belong to.
        since: None of them was created before this time.
        running: The predictions.

    Returns:
        In how many seconds to look again, or None.
    """
    # These take long to import. `api` and most looks of the watchdog send no request to Replicate.
    from triptych.replicate import predictions, transport  # noqa: PLC0415

    for one in running:
        if one.prediction_id:
            predictions.cancel(one.prediction_id)
    doubtful = {Tag(job_id, one.image, one.attempt): one for one in running if one.prediction_id is None}
    if not doubtful:
        return None
    try:
        listed = predictions.tagged_since(since)
    except transport.ReplicateUnavailableError as error:
        logger.warning("the list of predictions cannot be read", reason=str(error))
        listed = {}
    for tag in doubtful.keys() & listed.keys():
        predictions.cancel(listed[tag])
    until = [one.in_doubt_until for tag, one in doubtful.items() if tag not in listed and one.in_doubt_until]
    seconds = max(((moment - clock.now()).total_seconds() for moment in until), default=0)
    return int(seconds) + 1 if seconds > 0 else None


def clean_up(message: WatchdogMessage, running: Sequence[RunningPrediction], job: Job | None) -> int | None:
    """Cancel the predictions of a deleted job, and remove its objects, also those that arrive later.

    Returns:
        In how many seconds to look again, or None.
    """
    deleted_at = message.born_at
    if job:  # the deletion was cut off
        record.delete(job.job_id)
    age = (clock.now() - deleted_at).total_seconds()
    logger.info("cleaned up", removed=bucket.remove_all(message.job_id), age=int(age))
    # The message does not say when the predictions were created. It was not longer ago than the deadline.
    since = deleted_at - timedelta(seconds=settings().generation_deadline_seconds)
    again = stop(message.job_id, since, running)
    return again or (int(IN_FLIGHT_SECONDS - age) + 1 if age < IN_FLIGHT_SECONDS else None)

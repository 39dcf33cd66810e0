"""Predictions in doubt: what Replicate's list says about them, and what to do with those that one POST doubled.

The list shows whether a POST without a usable answer has created a prediction. It also shows if it has created two. Then
the image takes one of them, and the others are canceled.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from triptych.flows import costs, record
from triptych.job import OUTPUT_LIFE, ImageStatus, PredictionCreated, PredictionNotCreated
from triptych.replicate import listing, predictions
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime.observability import about_job, count, logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from triptych.aws.queues import RunningPrediction
    from triptych.job import Event, Image, Job
    from triptych.replicate.listing import Listed

SAME_TIME = timedelta(seconds=5)
TOGETHER = timedelta(seconds=120)  # doubts of this time are settled by one reading of the list


class Settled(NamedTuple):
    """What Replicate's list says about the images in doubt."""

    events: Sequence[Event]
    doubled: dict[str, int]  # all predictions of a POST that created several, each with its image's index


def settle(job: Job, now: datetime) -> Settled:
    """Return what Replicate's list says about the job's images in doubt."""
    doubtful = {
        Tag(job.job_id, image.index, image.attempt): image for image in job.having(ImageStatus.REQUESTING)
    }
    if not doubtful:
        return Settled([], {})
    # A retry may bring back a doubt of long ago. The list is read for the oldest ones first, not for all the time between.
    oldest = min(image.asked_at or job.created_at for image in doubtful.values())
    doubtful = {
        tag: image
        for tag, image in doubtful.items()
        if (image.asked_at or job.created_at) < oldest + TOGETHER
    }
    listed = read_list(doubtful, job.created_at, now)
    if listed is None:
        return Settled([], {})
    events: list[Event] = []
    doubled: dict[str, int] = {}
    for tag, image in doubtful.items():
        found = listed.of(tag)
        if found:
            events.append(PredictionCreated(image.index, image.attempt, found[0]))
            doubled |= dict.fromkeys(found if len(found) > 1 else (), image.index)
        elif _proves_absence(listed, job, image, oldest, now):
            events.append(PredictionNotCreated(image.index, image.attempt, now, was_in_doubt=True))
    return Settled(events, doubled)


def read_list(
    doubtful: Mapping[Tag, Image] | Mapping[Tag, RunningPrediction], earliest: datetime, now: datetime
) -> Listed | None:
    """Read the parts of Replicate's list that hold the predictions in doubt, if they exist.

    The whole list is read once one of the doubts ends: only then it can prove anything.

    Args:
        doubtful: The images or predictions in doubt, by their tags.
        earliest: When a POST was sent whose time is not known: an older release did not store it.
        now: The time.

    Returns:
        None if the list cannot be read. That is logged.
    """
    asked = {tag: one.asked_at or earliest for tag, one in doubtful.items()}
    due = any(one.in_doubt_until is None or now >= one.in_doubt_until for one in doubtful.values())
    try:
        return listing.find(asked, whole=due)
    except ReplicateUnavailableError as error:
        logger.warning("the list of predictions cannot be read", reason=str(error))
        return None


def _proves_absence(listed: Listed, job: Job, image: Image, since: datetime, now: datetime) -> bool:
    """Return whether a prediction that the list, read from `since` on, does not hold does not exist. It may lag behind.

    It lags if it lacks a prediction of the same job that is known to exist and is not younger, or if it grows while it is
    read. It does not lag if it holds a later one of any job.

    An hour after a prediction's end, the list does not say any more whose it was. By then a job is past its deadline, so
    the image stays in doubt and counts. Only a retry asks again: such an output is lost.
    """
    asked_at = image.asked_at or job.created_at
    if image.in_doubt_until and now < image.in_doubt_until:
        return False
    if now >= asked_at + OUTPUT_LIFE and not image.reclaimed:
        return False
    known = {
        one.prediction_id
        for one in job.images
        if one.prediction_id and one.asked_at and since - SAME_TIME < one.asked_at < asked_at + SAME_TIME
    }
    if not listed.steady or (known - listed.tagged_ids and now < asked_at + listing.LONGEST_LAG):
        return False
    return listed.covers(asked_at) or now >= asked_at + timedelta(seconds=listing.LATEST_SECONDS)


def count_settled(events: Sequence[Event]) -> None:
    """Log and count what the list has settled, once it is stored."""
    for event in events:
        match event:
            case PredictionCreated(index, _, prediction_id):
                logger.info("adopted", image=index, prediction_id=prediction_id)
                count("PredictionsAdopted")
                costs.count_cost(1)
            case PredictionNotCreated(index, attempt):
                logger.warning("never made", image=index, attempt=attempt)
                count("PredictionsNeverMade")


def cancel_unadopted(settled: Settled) -> None:
    """Cancel and count the predictions of a POST but the one that was just adopted."""
    adopted = {one.prediction_id for one in settled.events if isinstance(one, PredictionCreated)}
    if unneeded := [name for name in settled.doubled if name not in adopted]:
        logger.error("one POST created more than one prediction", prediction_ids=unneeded)
        count("PredictionsDoubled", len(unneeded))
        costs.count_cost(len(unneeded))
        predictions.cancel_all(unneeded)


def cancel_doubled(job_id: str, doubled: Mapping[str, int]) -> bool:
    """Cancel predictions of one POST that their image has not taken. Return whether none of them runs any longer.

    An image in doubt may still take any of its predictions, so none of them is canceled yet.

    Args:
        job_id: The job.
        doubled: All predictions of the POST, each with the index of its image.
    """
    about_job(job_id)
    job = record.read(job_id)
    images = job.images if job else ()
    taken = {image.prediction_id for image in images}
    in_doubt = {image.index for image in images if image.status is ImageStatus.REQUESTING}
    unneeded = [name for name, index in doubled.items() if index not in in_doubt and name not in taken]
    return predictions.cancel_all(unneeded) and in_doubt.isdisjoint(doubled.values())

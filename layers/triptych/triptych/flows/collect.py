"""Collect the result of a prediction: copy its output to S3, or record why there is none."""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import TYPE_CHECKING

from triptych.aws import bucket, queues
from triptych.failures import FailureKind
from triptych.flows import costs, preview, record
from triptych.job import (
    Event,
    Image,
    ImageFailed,
    ImageStatus,
    Job,
    Output,
    OutputStored,
    PredictionCreated,
    awaits,
)
from triptych.replicate import transport
from triptych.replicate.downloads import OutputRefusedError, OutputUnavailableError, Sources, fetch
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import about_job, count, logger
from triptych.settings import settings

if TYPE_CHECKING:
    from pydantic import JsonValue

    from triptych.replicate.predictions import Prediction
    from triptych.replicate.tags import Tag

COPY_SECONDS = 16.0  # to copy one output in the webhook function; API Gateway waits for 30
TAKE_SECONDS = 24.0  # for the copy and its preview

# The words that models use; Replicate has no code for it.
UNSAFE_WORDS = ("nsfw", "sensitive", "flagged", "safety", "moderat", "content policy", "(e005)")


class Handling(enum.Enum):
    """How a webhook was handled, as the metric that counts it."""

    APPLIED = "WebhooksApplied"
    IGNORED = "WebhooksIgnored"  # a duplicate, a late webhook, or one for a deleted job or an earlier attempt


class UnboundError(Exception):
    """The query of a webhook names another image than its signed body does."""


def take(prediction: Prediction, tag: Tag) -> Handling:
    """Move on the job that a signed webhook is about.

    Args:
        prediction: The signed body.
        tag: The tag in the query, which is not signed. The body must confirm it, by the photo's URL, the webhook's URL
            or the image's stored prediction id.

    Raises:
        UnboundError: The body does not confirm the tag.
        OutputUnavailableError: The output could not be fetched this time. Replicate must call again.
    """
    about_job(tag.job_id)
    tags = prediction.tags
    if tags and tags != {tag}:
        raise UnboundError
    job = record.read(tag.job_id)
    if job is None:
        costs.count_if_wasted(prediction, tag, job)
        return Handling.IGNORED
    if tag.image >= len(job.images):
        raise UnboundError
    image = job.images[tag.image]
    if not tags and image.prediction_id != prediction.id:
        raise UnboundError
    if _is_doubled(image, tag, prediction):
        logger.error("one POST created more than one prediction", prediction_ids=[prediction.id])
        count("PredictionsDoubled")
        costs.count_cost(1)
    if job.status.is_terminal or not awaits(image, tag.attempt, prediction.id):
        costs.count_if_wasted(prediction, tag, job)
        return Handling.IGNORED
    budget, previewing = TimeBudget(COPY_SECONDS), TimeBudget(TAKE_SECONDS)
    change = store(job, result(job, tag, prediction, budget, previewing))
    return Handling.APPLIED if change.written else Handling.IGNORED


def store(job: Job, *results: Event) -> record.Change:
    """Store what became of predictions. If a retry has lost an output that it asked for again, `generate` goes on at once.

    Without this message, the image would wait for the watchdog's next look.
    """
    change = record.move_on(job, *results)
    after = change.job
    if after and change.before and _lost_a_reclaimed_output(change.before, after):
        queues.send_to_generation(after.job_id, after.photo.key)
    return change


def _lost_a_reclaimed_output(before: Job, after: Job) -> bool:
    """Return whether Replicate does not have an output any more that a retry asked for again: it needs a new prediction."""
    reclaimed = {image.index for image in before.images if image.reclaimed}
    return any(image.index in reclaimed for image in after.having(ImageStatus.PENDING))


def _is_doubled(image: Image, tag: Tag, prediction: Prediction) -> bool:
    """Return whether this is a second prediction of one POST that nobody canceled in time: it is billed."""
    known = image.attempt == tag.attempt and image.prediction_id is not None
    return known and image.prediction_id != prediction.id and prediction.status == "succeeded"


def result(  # noqa: PLR0911  # one for each status
    job: Job, tag: Tag, prediction: Prediction, budget: TimeBudget, previewing: TimeBudget | None = None
) -> Event:
    """Return what `prediction` means for its image. If it has an output, the output is in S3 afterwards.

    Args:
        job: The job.
        tag: The image and the attempt.
        prediction: As Replicate reports it.
        budget: For the copy of the output.
        previewing: For the copy and its preview; if not given, the budget of the copy. A caller must wait for as long:
            otherwise the preview would cost the output.

    Raises:
        OutputUnavailableError: The output could not be fetched this time.
    """

    def failed(failure: FailureKind) -> ImageFailed:
        return ImageFailed(tag.image, tag.attempt, prediction.id, failure)

    match prediction.status:
        case "succeeded" if prediction.output_url:
            try:
                output = _copy(
                    prediction.output_url, job, tag.image, prediction.id, budget, previewing or budget
                )
            except OutputRefusedError as refused:
                return failed(refused.failure)
            return OutputStored(tag.image, tag.attempt, prediction.id, output)
        case "succeeded":
            return failed(FailureKind.OUTPUT_MISSING)
        case "failed":
            return failed(_why(prediction.error))
        case "canceled":
            return failed(FailureKind.PREDICTION_CANCELED)
        case "aborted":
            return failed(FailureKind.PREDICTION_ABORTED)
        case _:
            return PredictionCreated(tag.image, tag.attempt, prediction.id)


def _copy(
    url: str, job: Job, index: int, prediction_id: str, budget: TimeBudget, previewing: TimeBudget
) -> Output:
    limits = settings()
    with fetch(
        url,
        max_bytes=limits.max_output_bytes,
        sources=Sources(limits.allowed_output_hosts, limits.replicate_delivery_hosts),
        token=_token,
        budget=budget,
    ) as fetched:
        if budget.is_spent:
            # The caller has gone on without this copy. The job may even be deleted by now.
            raise OutputUnavailableError("too slow")
        key = bucket.output_key(job, index, prediction_id, fetched.content_type)
        output = bucket.store_output(key, fetched.content_type, fetched.size, fetched.file)
        output = replace(output, preview=preview.add(key, fetched.file, previewing))
    if previewing.is_spent and record.read(job.job_id) is None:
        # S3 was slow, or Lambda froze this thread meanwhile. The clean-up of the deleted job may be over.
        bucket.remove_output(output)
        raise OutputUnavailableError("too slow")
    return output


def _token() -> str:
    try:
        return transport.token()
    except transport.ReplicateUnavailableError:
        raise OutputUnavailableError("no token") from None


def _why(error: JsonValue) -> FailureKind:
    text = str(error or "").lower()
    unsafe = any(word in text for word in UNSAFE_WORDS)
    return FailureKind.CONTENT_REJECTED if unsafe else FailureKind.PREDICTION_FAILED

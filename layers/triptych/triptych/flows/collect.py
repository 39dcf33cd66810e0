"""What a prediction has come to, and the copy of what it made."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from triptych.aws import bucket, table
from triptych.failures import FailureKind
from triptych.job import (
    Event,
    ImageFailed,
    Job,
    Output,
    OutputStored,
    PredictionCreated,
    awaits,
)
from triptych.replicate import transport
from triptych.replicate.downloads import OutputRefused, OutputUnavailable, Sources, fetch
from triptych.runtime.observability import about
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from triptych.replicate.predictions import Prediction
    from triptych.replicate.tags import Tag

COPY_SECONDS = 16.0  # download and upload of one picture, in a webhook: API Gateway waits for 30

# How the models word it; Replicate has no code for it.
UNSAFE_WORDS = ("nsfw", "sensitive", "flagged", "safety", "moderat", "content policy", "(e005)")


class Verdict(enum.Enum):
    """What became of a webhook, and as what it is counted."""

    APPLIED = "WebhooksApplied"
    IGNORED = "WebhooksIgnored"  # a duplicate, a late one, or for a job or an attempt that is no more


class Unbound(Exception):  # noqa: N818  # a verdict
    """A webhook's query names another picture than its signed body does."""


def take(prediction: Prediction, tag: Tag) -> Verdict:
    """Move on the job that a signed webhook is about.

    Args:
        prediction: the signed body.
        tag: what the query says, which is not signed. It counts only where the body says the same: in the photo's
            URL, in its echo of the webhook's URL, or else by an id that the image is known to have.

    Raises:
        Unbound: it does not.
        OutputUnavailable: the picture could not be fetched this time; Replicate shall call again.
    """
    about(tag.job_id)
    told = prediction.tags
    if told and told != {tag}:
        raise Unbound
    job = table.get(tag.job_id)
    if job is None:
        return Verdict.IGNORED
    if tag.image >= len(job.images):
        raise Unbound
    image = job.images[tag.image]
    if not told and image.prediction_id != prediction.id:
        raise Unbound
    if job.status.is_terminal or not awaits(image, tag.attempt, prediction.id):
        return Verdict.IGNORED
    _, changed = _settle(job, [outcome(job, tag, prediction, COPY_SECONDS)])
    return Verdict.APPLIED if changed else Verdict.IGNORED


def outcome(job: Job, tag: Tag, prediction: Prediction, seconds: float) -> Event:  # noqa: PLR0911  # one for each status
    """What `prediction` means for the image that `tag` names; a picture that it made is in S3 afterwards.

    Args:
        job: the job.
        tag: the image, and the attempt at it.
        prediction: as Replicate tells it.
        seconds: that the copy of its picture may take.

    Raises:
        OutputUnavailable: there is a picture, and it could not be fetched this time.
    """

    def failed(failure: FailureKind) -> ImageFailed:
        return ImageFailed(tag.image, tag.attempt, prediction.id, failure)

    match prediction.status:
        case "succeeded" if prediction.output_url:
            try:
                output = _copy(prediction.output_url, job, tag.image, seconds)
            except OutputRefused as refused:
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


def _copy(url: str, job: Job, index: int, seconds: float) -> Output:
    limits = settings()
    with fetch(
        url,
        max_bytes=limits.max_output_bytes,
        sources=Sources(limits.allowed_output_hosts, limits.replicate_delivery_hosts),
        token=_token,
        seconds=seconds,
    ) as got:
        key = bucket.output_key(job, index, got.content_type)
        return bucket.store_output(key, got.content_type, got.size, got.file)


def _token() -> str:
    try:
        return transport.token()
    except transport.ReplicateUnavailable:
        raise OutputUnavailable("no token") from None


def _why(error: JsonValue) -> FailureKind:
    said = str(error or "").lower()
    unsafe = any(word in said for word in UNSAFE_WORDS)
    return FailureKind.CONTENT_REJECTED if unsafe else FailureKind.PREDICTION_FAILED


def settle(job: Job, events: Sequence[Event]) -> Job | None:
    """Record `events`; a picture that was stored for nothing, since the job had ended or gone, is removed."""
    return _settle(job, events)[0]


def _settle(job: Job, events: Sequence[Event]) -> tuple[Job | None, bool]:
    after, changed = table.record(job, *events)
    for stored in (event for event in events if isinstance(event, OutputStored)):
        kept = after.images[stored.index].output if after else None
        if kept is None or kept.key != stored.output.key:
            bucket.remove(stored.output.key)
    return after, changed

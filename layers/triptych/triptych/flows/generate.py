"""Asking Replicate for a job's pictures, each exactly once.

What keeps that promise is an order: an image's intention is stored, under the optimistic lock, before its POST
leaves. Only the invocation whose write won sends the POST. From then on the image is in doubt until its
prediction is known: by the answer, by its webhook, or because Replicate lists it. Only when Replicate lists no
such prediction, and none can be on its way any more, is it asked for again.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING

from triptych import backoff
from triptych.aws import bucket, table
from triptych.deadlines import deadline
from triptych.failures import FailureKind
from triptych.flows import collect
from triptych.job import (
    AnswerLost,
    Asked,
    Event,
    GenerationRefused,
    Image,
    ImageStatus,
    Job,
    JobRejected,
    PhotoOpened,
    PredictionCreated,
    PredictionNotCreated,
    UploadArrived,
    apply_all,
)
from triptych.replicate import predictions
from triptych.replicate.predictions import Answer, Created, NotCreated, Refused, Unknown, Wanted
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailable
from triptych.runtime import clock
from triptych.runtime.observability import about, count, logger, unexpected
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

RACES = 5  # lost in a row before the message is put back
PHOTO_URL_SLACK_SECONDS = 60
# How long a prediction may stay unseen after its POST. Without an answer, the request may still wait in some
# server; with one (a 503, say) it has at least arrived.
UNANSWERED_SECONDS = 90
ANSWERED_SECONDS = 30
ASKING_SECONDS = 10.0  # then no further round is begun: one more takes 13, and the function has 40
OPENING_SECONDS = 60  # longer than the function that opens photos may run


def photo_arrived(job_id: str, key: str, *, again: bool = False) -> Job | None:
    """A photo lies in S3: look at it, and ask for its pictures.

    Harmless as often as it is called. What cannot go on (no such job, no such photo, not this job's photo) is
    logged and let go.

    Args:
        job_id: the job.
        key: where the photo lies.
        again: this is not the first try, and the photo may be what the last one died of (of memory, or of time).
            Then the try is counted before the photo is opened. A first try is not: it costs no write.

    Returns:
        the job, or None where there is nothing to do.
    """
    about(job_id)
    job = table.get(job_id)
    if not key.startswith(f"uploads/{job_id}/"):
        logger.warning("not this job's photo")
        return None
    if job is None:
        logger.warning("no such job")
        bucket.remove(key)  # it came after the job was deleted: a link is given only for a job that is stored
        return None
    if job.status.is_terminal:
        return job
    if job.uploaded_at:
        return advance(job)
    return _look_at_photo(job, key, again=again)


def _look_at_photo(job: Job, key: str, *, again: bool) -> Job | None:
    with bucket.fetch_photo(key, settings().max_upload_bytes) as upload:
        if upload is None:
            logger.warning("no such photo")
            return None
        arrived = UploadArrived(key, upload.size, upload.stored_at)
        if upload.file is None:
            return collect.settle(job, [arrived, JobRejected(FailureKind.PHOTO_TOO_LARGE)])
        if again:
            now = clock.now()
            counted = collect.settle(
                job, [PhotoOpened(now, now + timedelta(seconds=OPENING_SECONDS), arrived)]
            )
            if counted is None or counted is job or counted.uploaded_at:
                return counted  # gone, being opened by somebody else, or through with it
            job = counted
        return _open(upload.file, job, arrived)


def _open(file: IO[bytes], job: Job, arrived: UploadArrived) -> Job | None:
    from triptych.photo import inspection  # noqa: PLC0415  # what it imports is large, and most invocations open no photo

    announced, limits = job.photo.content_type, settings()
    match inspection.inspect(
        file, announced, max_pixels=limits.max_photo_pixels, max_edge=limits.max_photo_edge
    ):
        case inspection.Rejected(failure):
            return collect.settle(job, [arrived, JobRejected(failure)])
        case inspection.Prepared(jpeg):
            logger.info("prepared", size=len(jpeg))
            prepared_key = bucket.store_prepared(job.job_id, jpeg)
            after = advance(job, replace(arrived, prepared_key=prepared_key))
            if after is None:  # the job was deleted meanwhile
                bucket.remove(prepared_key)
            return after
        case inspection.Ready():
            return advance(job, arrived)


def advance(job: Job, *arrived: Event) -> Job | None:
    """Settle what is in doubt, ask for what is pending, and record it all. `arrived` is recorded along.

    All pictures are asked for at once; once Replicate has told one to come later, one after the other.

    Raises:
        table.Conflict: the race was lost too often; call again later.
    """
    try:
        seeded = settings().input_mapping.seed is not None
    except ValueError:
        unexpected("the model is not set up")
        return collect.settle(job, [*arrived, JobRejected(FailureKind.MODEL_NOT_CONFIGURED)])
    give_up_at = time.monotonic() + ASKING_SECONDS
    after = _ask(job, arrived, seeded=seeded)
    while after and _to_ask_for(after, clock.now()) and time.monotonic() < give_up_at:
        after = _ask(after, (), seeded=seeded)
    return after


def _ask(job: Job, arrived: Sequence[Event], *, seeded: bool) -> Job | None:
    for _ in range(RACES):
        now = clock.now()
        doubts = _settled_doubts(apply_all(job, arrived, now), now)
        events = [*arrived, *doubts]
        after = apply_all(job, events, now)
        asked = [_asked(image, now, seeded=seeded) for image in _to_ask_for(after, now)]
        try:
            stored = table.save(job, *events, *asked)
        except table.Conflict:
            again = table.get(job.job_id)
            if again is None:
                return None
            job = again
            continue
        _tell_of(doubts)
        if not asked:
            return collect.settle(stored, [])
        answers = _create(stored, [stored.images[one.index] for one in asked])
        settled = collect.settle(stored, answers)
        _cancel_unwanted(settled, answers)
        return settled
    raise table.Conflict(job.job_id)


def _cancel_unwanted(job: Job | None, answers: Sequence[Event]) -> None:
    """Stop what was made for a job that has been canceled or deleted meanwhile."""
    for made in (answer for answer in answers if isinstance(answer, PredictionCreated)):
        if job is None or job.images[made.index].prediction_id != made.prediction_id:
            predictions.cancel(made.prediction_id)


def _settled_doubts(job: Job, now: datetime) -> list[Event]:
    doubtful = job.having(ImageStatus.REQUESTING)
    if not doubtful:
        return []
    since = min(image.asked_at or job.created_at for image in doubtful)
    try:
        listed = predictions.tagged_since(since)
    except ReplicateUnavailable as error:
        logger.warning("the list of predictions cannot be read", reason=str(error))
        return []
    events: list[Event] = []
    for image in doubtful:
        found = listed.get(Tag(job.job_id, image.index, image.attempt))
        if found:
            events.append(PredictionCreated(image.index, image.attempt, found))
        elif image.not_before is None or now >= image.not_before:
            events.append(PredictionNotCreated(image.index, image.attempt, now))
    return events


def _tell_of(settled: Sequence[Event]) -> None:
    for event in settled:
        match event:
            case PredictionCreated(index, _, prediction_id):
                logger.info("adopted", image=index, prediction_id=prediction_id)
                count("PredictionsAdopted")
            case PredictionNotCreated(index, attempt, _):
                logger.warning("never made", image=index, attempt=attempt)
                count("PredictionsNeverMade")


def _to_ask_for(job: Job, now: datetime) -> list[Image]:
    if job.status.is_terminal or (deadline(job) - now).total_seconds() < predictions.MIN_CANCEL_AFTER:
        return []
    pending = job.having(ImageStatus.PENDING)
    told = [image.not_before for image in pending if image.not_before]
    if not told:
        return pending
    # "Not yet" is about the account, not about that one picture: more at once would only be refused with it.
    return pending[:1] if max(told) <= now else []


def _asked(image: Image, now: datetime, *, seeded: bool) -> Asked:
    seed = secrets.randbelow(2**31) if seeded else None
    return Asked(image.index, seed, at=now, in_doubt_until=now + timedelta(seconds=UNANSWERED_SECONDS))


def _create(job: Job, images: Sequence[Image]) -> list[Event]:
    webhook_url = settings().webhook_url
    if webhook_url is None:
        raise RuntimeError("WEBHOOK_URL is not set")
    wanted = [_wanted(job, image) for image in images]
    cancel_after = int((deadline(job) - clock.now()).total_seconds())
    answers = predictions.create(wanted, webhook_url=webhook_url, cancel_after=cancel_after)
    return [_event(image, answer) for image, answer in zip(images, answers, strict=True)]


def _wanted(job: Job, image: Image) -> Wanted:
    """What to ask for, with a link to the photo that is good for as long as Replicate can still have a use for it.

    That is until the deadline: `Cancel-After` ends a prediction that waits in Replicate's queue for longer. Not a
    minute more is asked for, because a link dies with the session of the role that signed it, and how long that
    has to live is told to no function, nor promised by its role's settings
    (https://repost.aws/knowledge-center/presigned-url-s3-bucket-expiration). For the same reason it is signed here,
    just before the POST, and anew for each attempt. Where a session ends all the same, the prediction fails, that
    is said, and a retry is given a new link.
    """
    tag = Tag(job.job_id, image.index, image.attempt)
    left = int((deadline(job) - clock.now()).total_seconds())
    url = bucket.presign_photo(job.photo.model_key, tag.file_name, left + PHOTO_URL_SLACK_SECONDS)
    return Wanted(tag, url, job.prompt or settings().default_prompt, image.seed)


def _event(image: Image, answer: Answer) -> Event:
    now = clock.now()
    where = f"{image.index}, attempt {image.attempt}"
    match answer:
        case Created(prediction_id):
            logger.info("asked", prediction_id=prediction_id, image=where)
            count("PredictionsCreated")
            return PredictionCreated(image.index, image.attempt, prediction_id)
        case NotCreated(retry_after, reason, throttled):
            logger.warning("not created", reason=reason, retry_after=retry_after, image=where)
            count("PredictionsNotCreated")
            wait = backoff.seconds_after_refusal(image.attempt, retry_after, throttled=throttled)
            return PredictionNotCreated(image.index, image.attempt, now + timedelta(seconds=wait))
        case Refused(failure):
            logger.error("refused", code=failure.code, image=where)
            count("PredictionsRefused")
            return GenerationRefused(image.index, image.attempt, failure)
        case Unknown(answered, reason):
            logger.warning("in doubt", reason=reason, image=where)
            count("PredictionsInDoubt")
            patience = ANSWERED_SECONDS if answered else UNANSWERED_SECONDS
            return AnswerLost(image.index, image.attempt, now + timedelta(seconds=patience))

"""Generate a job's images: create one prediction for each at Replicate, and never two.

The order of the steps keeps that promise. The intention to create a prediction is stored, under the optimistic lock,
before the POST. Only the invocation whose write won sends the POST. From then on the image is in doubt until its
prediction is known: from the answer, from its webhook, or from Replicate's list (see `flows.doubts`). A new prediction is
created only if Replicate lists none and none can be on its way any more.

While Replicate throttles the account, a job waits in line for its predictions: see `flows.wait_in_line`.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from triptych import backoff
from triptych.aws import bucket, queues
from triptych.deadlines import deadline
from triptych.failures import FailureKind
from triptych.flows import costs, doubts, record
from triptych.flows.doubts import Settled
from triptych.job import (
    LARGEST_SEED,
    AnswerLost,
    Asked,
    Event,
    GenerationRefused,
    Image,
    ImageStatus,
    Job,
    JobRejected,
    PredictionCreated,
    PredictionNotCreated,
    WaitsInLine,
    apply,
    apply_all,
)
from triptych.replicate import listing, predictions
from triptych.replicate.predictions import Answer, Created, InDoubt, NewPrediction, NotCreated, Refused
from triptych.replicate.tags import Tag
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import count, logger, unexpected
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from triptych.pace import Pace

MARKS = 1_000_000  # microseconds, one of which marks a request: the answer to its write can be lost
RACES = 5  # lost in a row before the message is put back; each of them may read Replicate's list
PHOTO_URL_SLACK_SECONDS = 60
# How long a prediction may stay in doubt after its POST. Without an answer, the request may still wait in some server.
# With one (a 503, say), it has at least arrived.
UNANSWERED_SECONDS = listing.LATEST_SECONDS
ANSWERED_SECONDS = 30
ASKING_SECONDS = 10.0  # no round starts later: a round takes up to 13 s, and the function has 50
DOUBLED_SECONDS = (
    5  # until doubled predictions are canceled again. The adoption of the first is stored by then.
)


def advance(
    job: Job, *arrived: Event, pace: Pace, meanwhile: Callable[[], Sequence[Event]] = tuple
) -> Job | None:
    """Settle doubts, create the pending predictions at the same time, and store it all, together with `arrived`.

    Nothing is created while this process knows that Replicate throttles the account.

    Args:
        job: The job.
        arrived: What happened to it and is not stored yet.
        pace: What this process knows about Replicate's limit.
        meanwhile: Does what can wait until Replicate works on the predictions. What it returns is stored with their ids.

    Raises:
        table.ConflictError: Too many races were lost; call again later.
    """
    try:
        seeded = _is_seeded(job)
    except ValueError:
        unexpected("no input mapping for the model")
        return record.move_on(job, *arrived, JobRejected(FailureKind.MODEL_NOT_CONFIGURED)).job
    budget = TimeBudget(ASKING_SECONDS)
    after = _ask(job, arrived, pace, seeded=seeded, most=_most(pace), meanwhile=meanwhile)
    while after and to_ask_for(after, clock.now()) and _most(pace) != 0 and not budget.is_spent:
        after = _ask(after, (), pace, seeded=seeded, most=_most(pace))
    return after


def _is_seeded(job: Job) -> bool:
    return settings().mapping_of(job.request.model).seed is not None


def _most(pace: Pace) -> int | None:
    now = clock.now()
    return 0 if pace.is_throttled(now) else pace.allowed(now)


def ask_in_turn(job: Job, pace: Pace) -> Job | None:
    """Create as many of the job's pending predictions as the pace allows now, and settle its doubts.

    Raises:
        table.ConflictError: Too many races were lost; call again later.
    """
    return _ask(job, (), pace, seeded=_is_seeded(job), most=pace.allowed(clock.now()))


def _ask(
    job: Job,
    arrived: Sequence[Event],
    pace: Pace,
    *,
    seeded: bool,
    most: int | None,
    meanwhile: Callable[[], Sequence[Event]] = tuple,
) -> Job | None:
    settled = Settled([], {})
    named: dict[str, int] = {}
    asked: list[Asked] = []

    def intend(job: Job) -> Job:
        nonlocal settled, named, asked
        if asked and _is_stored(job, asked):
            return job  # the write took effect, and its answer was lost
        now = clock.now()
        job = apply_all(job, arrived, now)
        settled = doubts.settle(job, now)
        now = clock.now()  # the list takes seconds to read
        if not settled.doubled.keys() <= named.keys():
            # Once one is adopted, nothing shows the others any more: this message is sent before. It names all of them,
            # because a webhook may adopt another one first.
            queues.send_doubled(job.job_id, job.photo.key, settled.doubled, delay=DOUBLED_SECONDS)
            named = settled.doubled
        job = apply_all(job, settled.events, now)
        asked = [_asked(job, image, now, seeded=seeded) for image in to_ask_for(job, now)[:most]]
        job = apply_all(job, asked, now)
        return apply(job, WaitsInLine(now), now)

    intended = record.update(job, intend, races=RACES).job
    doubts.cancel_unadopted(settled)
    if intended is None:
        return None
    doubts.count_settled(settled.events)
    if not asked:
        return intended
    answers = _create(intended, [intended.images[one.index] for one in asked], pace)
    # The preview comes first: a refusal ends the job, which then takes nothing more.
    change = record.move_on(intended, *meanwhile(), *answers)
    made = [one for one in answers if isinstance(one, PredictionCreated)]
    if new := sum(not _is_known(change.before, one) for one in made):
        count("PredictionsCreated", new)
        costs.count_cost(new)
    _cancel_unneeded(change.job, made)
    return change.job


def _is_stored(job: Job, asked: Sequence[Asked]) -> bool:
    """Return whether these very requests are what the job's images are in doubt of. One write stores all of them."""
    first = asked[0]
    image = job.images[first.index]
    return image.status is ImageStatus.REQUESTING and image.in_doubt_until == first.in_doubt_until


def _is_known(job: Job | None, made: PredictionCreated) -> bool:
    """Return whether a webhook or the list named the prediction before its answer was stored, and it was counted then."""
    return job is not None and job.images[made.index].prediction_id == made.prediction_id


def _cancel_unneeded(job: Job | None, made: Sequence[PredictionCreated]) -> None:
    """Cancel predictions that were created for a job which has been canceled or deleted meanwhile."""
    predictions.cancel_all(
        [
            one.prediction_id
            for one in made
            if job is None or job.images[one.index].prediction_id != one.prediction_id
        ]
    )


def unasked(job: Job, now: datetime) -> list[Image]:
    """Return the images that still need a prediction, while there is time for one."""
    if (deadline(job) - now).total_seconds() < predictions.MIN_CANCEL_AFTER:
        return []
    return job.having(ImageStatus.PENDING)


def to_ask_for(job: Job, now: datetime) -> list[Image]:
    """Return the images whose predictions may be created now."""
    return [image for image in unasked(job, now) if image.not_before is None or image.not_before <= now]


def _asked(job: Job, image: Image, now: datetime, *, seeded: bool) -> Asked:
    # After a retry, the client's own seed would give the same output once more, or the same refusal.
    chosen = None if job.retries else job.request.asked_of(image.index).seed
    seed = (secrets.randbelow(LARGEST_SEED) if chosen is None else chosen) if seeded else None
    until = now + timedelta(seconds=UNANSWERED_SECONDS, microseconds=secrets.randbelow(MARKS))
    return Asked(image.index, seed, at=now, in_doubt_until=until)


def _create(job: Job, images: Sequence[Image], pace: Pace) -> list[Event]:
    webhook_url = settings().webhook_url
    if webhook_url is None:
        raise RuntimeError("WEBHOOK_URL is not set")
    new = [_new_prediction(job, image) for image in images]
    cancel_after = int((deadline(job) - clock.now()).total_seconds())
    sent = clock.now()
    answers = predictions.create(new, webhook_url=webhook_url, cancel_after=cancel_after)
    _learn(pace, answers, sent)
    return [_event(image, answer) for image, answer in zip(images, answers, strict=True)]


def _learn(pace: Pace, answers: Sequence[Answer], sent: datetime) -> None:
    now = clock.now()
    for answer in answers:
        if isinstance(answer, Created):
            pace.created(now, answer.left, sent=sent)
    refusals = [answer for answer in answers if isinstance(answer, NotCreated) and answer.throttled]
    if refusals:  # of one round: they say the same
        named = max((one.retry_after for one in refusals if one.retry_after), default=None)
        pace.refused(now, named, sent=sent)


def _new_prediction(job: Job, image: Image) -> NewPrediction:
    """Return the prediction to create, with a presigned URL of the photo that is valid until the deadline.

    `Cancel-After` ends a prediction that waits longer in Replicate's queue. A longer validity would not help: the URL
    also ends with the session of the role that signed it. A function cannot know how long that session lasts
    (https://repost.aws/knowledge-center/presigned-url-s3-bucket-expiration). For the same reason it is signed here, just
    before the POST, and again for each attempt. If the session ends early, the prediction fails, and a retry gets a new
    URL.
    """
    tag = Tag(job.job_id, image.index, image.attempt)
    left = int((deadline(job) - clock.now()).total_seconds())
    url = bucket.presign_photo(job.photo.model_key, tag.file_name, left + PHOTO_URL_SLACK_SECONDS)
    prompt = job.request.prompt_of(image.index) or settings().default_prompt
    return NewPrediction(tag, url, prompt, image.seed, job.request.model)


def _event(image: Image, answer: Answer) -> Event:
    now = clock.now()
    where = f"{image.index}, attempt {image.attempt}"
    match answer:
        case Created(prediction_id):
            logger.info("asked", prediction_id=prediction_id, image=where)
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
        case InDoubt(answered, reason):
            logger.warning("in doubt", reason=reason, image=where)
            count("PredictionsInDoubt")
            patience = ANSWERED_SECONDS if answered else UNANSWERED_SECONDS
            return AnswerLost(image.index, image.attempt, now + timedelta(seconds=patience))

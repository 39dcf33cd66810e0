"""Generate a job's images: create one prediction for each at Replicate, and never two.

The order of the steps keeps that promise. The intention to create a prediction is stored, under the optimistic lock,
before the POST. Only the invocation whose write won sends the POST. From then on the image is in doubt until its
prediction is known: from the answer, from its webhook, or from Replicate's list. A new prediction is created only if
Replicate lists none and none can be on its way any more.

While Replicate throttles the account, a job waits in line for its predictions: see `flows.wait_in_line`.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import IO, TYPE_CHECKING

from triptych import backoff
from triptych.aws import bucket, queues
from triptych.deadlines import deadline
from triptych.failures import FailureKind
from triptych.flows import costs, preview, record
from triptych.job import (
    LARGEST_SEED,
    OUTPUT_LIFE,
    AnswerLost,
    Asked,
    Event,
    GenerationRefused,
    Image,
    ImageStatus,
    Job,
    JobRejected,
    PhotoLeft,
    PhotoOpened,
    PhotoPreviewed,
    PredictionCreated,
    PredictionNotCreated,
    UploadArrived,
    WaitsInLine,
    apply,
    apply_all,
)
from triptych.photo import bounded
from triptych.replicate import listing, predictions
from triptych.replicate.predictions import Answer, Created, InDoubt, NewPrediction, NotCreated, Refused
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import about_job, count, logger, unexpected
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from triptych.pace import Pace
    from triptych.photo.inspection import Finding
    from triptych.replicate.listing import Listed

RACES = 5  # lost in a row before the message is put back; each of them may read Replicate's list
PHOTO_URL_SLACK_SECONDS = 60
# How long a prediction may stay in doubt after its POST. Without an answer, the request may still wait in some server.
# With one (a 503, say), it has at least arrived.
UNANSWERED_SECONDS = listing.LATEST_SECONDS
ANSWERED_SECONDS = 30
SAME_TIME = timedelta(seconds=5)
TOGETHER = timedelta(seconds=120)  # doubts of this time are settled by one reading of the list
ASKING_SECONDS = 10.0  # no round starts later: a round takes up to 13 s, and the function has 50
DOUBLED_SECONDS = (
    5  # until doubled predictions are canceled again. The adoption of the first is stored by then.
)
TRY_OVER_SECONDS = 70  # longer than the timeout of the function that opens photos
LEAVING_SECONDS = 8.0
LEAVING_AGAIN_SECONDS = 1.0


def photo_arrived(job_id: str, key: str, pace: Pace, *, again: bool = False) -> Job | None:
    """Inspect a photo that has arrived in S3, and create the predictions for its job.

    Repeating it is harmless. If there is no such job or photo, or the photo is another job's, that is logged only.

    Args:
        job_id: The job.
        key: Where the photo lies.
        pace: What this process knows about Replicate's limit.
        again: This is not the first try. Something may have killed the function the last time. That should not have been
            the photo, but it may have been, so the try is counted before the photo is opened. A first try is not counted,
            which saves a write.

    Returns:
        The job, or None if there is nothing to do.
    """
    job = job_of(job_id, key)
    if job is None or job.status.is_terminal:
        return job
    if job.has_photo:
        return advance(job, pace=pace)
    return _look_at_photo(job, key, pace, again=again)


def job_of(job_id: str, key: str) -> Job | None:
    """Read the job of a photo. A photo that was uploaded after its job was deleted is removed.

    Returns:
        The job, or None if there is none or the photo is another job's. That is logged.
    """
    about_job(job_id)
    job = record.read(job_id)
    if not bucket.is_upload_of(key, job_id) or (job and not is_photo_of(job, key)):
        logger.warning("not this job's photo")
        return None
    if job is None:
        logger.warning("no such job")
        # Only a stored job gets an upload URL. An upload that ends after the watchdog's clean-up is known here alone.
        bucket.remove(key)
    return job


def is_photo_of(job: Job, key: str) -> bool:
    """Return whether this is where the job's photo was to be uploaded."""
    return bucket.is_upload_of(key, job.job_id) and key == job.photo.key


def _look_at_photo(job: Job, key: str, pace: Pace, *, again: bool) -> Job | None:
    with bucket.fetch_photo(key, settings().max_upload_bytes) as upload:
        if upload is None:
            logger.warning("no such photo")
            return None
        arrived = UploadArrived(key, upload.stored_at)
        if upload.file is None:
            return _reject(job, arrived, FailureKind.PHOTO_TOO_LARGE)
        if not again:
            return _use(_inspect(upload.file, job), upload.file, job, pace, arrived)
        now = clock.now()
        # The fraction of a second marks this try: the answer to the write below can be lost.
        until = now + timedelta(seconds=TRY_OVER_SECONDS, microseconds=-secrets.randbelow(10**6))
        try:
            counted = record.move_on(job, PhotoOpened(now, until, upload.stored_at)).job
            is_own = counted and counted.photo.opening_until == until
            if counted is None or counted.has_photo or counted.status.is_terminal or not is_own:
                # Deleted, already inspected, opened too often, or being opened by another invocation.
                return counted
            finding = _inspect(upload.file, counted)
            return _use(finding, upload.file, counted, pace, arrived, PhotoLeft(until))
        except bounded.StuckError:  # counts: the photo may be the reason
            raise
        except Exception:
            # The photo did not kill this invocation. Only a death counts.
            _leave(job.job_id, until)
            raise


def _leave(job_id: str, until: datetime) -> None:
    """Do not count a try to open the photo that ended with an error. DynamoDB may be the reason, so try again for a while."""
    budget = TimeBudget(LEAVING_SECONDS)
    while True:
        try:
            job = record.read(job_id)
            if job:
                record.move_on(job, PhotoLeft(until))
        except Exception:  # noqa: BLE001  # the caller raises its own
            if budget.is_spent:
                unexpected("an error while a photo was opened counts as a death")
                return
            clock.sleep(LEAVING_AGAIN_SECONDS)
        else:
            return


def _inspect(file: IO[bytes], job: Job) -> Finding:
    from triptych.photo import inspection  # noqa: PLC0415  # slow to import, and most invocations open no photo

    announced, limits = job.request.content_type, settings()
    return inspection.inspect(
        file, announced, max_pixels=limits.max_photo_pixels, max_edge=limits.max_photo_edge
    )


def _use(
    finding: Finding,
    file: IO[bytes],
    job: Job,
    pace: Pace,
    arrived: UploadArrived,
    left: PhotoLeft | None = None,
) -> Job | None:
    from triptych.photo import inspection  # noqa: PLC0415  # as above

    prepared: inspection.Prepared | None = None
    match finding:
        case inspection.Rejected(failure):
            return _reject(job, arrived, failure)
        case inspection.Prepared():
            prepared = finding
        case inspection.Ready():
            pass
    # A death in what follows is not the photo's: S3 may be slow.
    opened = record.move_on(job, left).job if left else job
    if opened is None:  # deleted meanwhile; an earlier try may have stored its copy after the clean-up
        bucket.remove_made_of(arrived.key, bucket.prepared_key(job.job_id) if prepared else None)
        return None
    if prepared:
        logger.info("prepared", size=len(prepared.jpeg))
        arrived = replace(arrived, prepared_key=bucket.store_prepared(job.job_id, prepared.jpeg))

    @cache
    def previewed() -> tuple[Event, ...]:
        made = preview.of_photo(arrived.key, file, prepared)
        return (PhotoPreviewed(made),) if made else ()

    after = advance(opened, arrived, pace=pace, meanwhile=previewed)
    if after and not after.status.is_terminal:
        after = record.move_on(after, *previewed()).job  # written only if no prediction was created
    if after is None:  # the job has been deleted meanwhile
        bucket.remove_made_of(arrived.key, arrived.prepared_key)
    return after


def _reject(job: Job, arrived: UploadArrived, failure: FailureKind) -> Job | None:
    """End the job because of its photo, unless another invocation has accepted that: limits of time and memory are near."""

    def rejected(current: Job) -> Job:
        if current.has_photo:
            return current
        return apply_all(current, [arrived, JobRejected(failure)], clock.now())

    return record.update(job, rejected).job


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
    doubts: list[Event] = []
    doubled: dict[str, int] = {}
    named: dict[str, int] = {}
    asked: list[Asked] = []

    def intend(job: Job) -> Job:
        nonlocal doubts, doubled, named, asked
        now = clock.now()
        job = apply_all(job, arrived, now)
        doubts, doubled = _settled_doubts(job, now)
        if not doubled.keys() <= named.keys():
            # Once one is adopted, nothing shows the others any more: this message is sent before. It names all of them,
            # because a webhook may adopt another one first.
            queues.send_doubled(job.job_id, job.photo.key, doubled, delay=DOUBLED_SECONDS)
            named = doubled
        job = apply_all(job, doubts, now)
        asked = [_asked(job, image, now, seeded=seeded) for image in to_ask_for(job, now)[:most]]
        job = apply_all(job, asked, now)
        return apply(job, WaitsInLine(now), now)

    intended = record.update(job, intend, races=RACES).job
    adopted = {one.prediction_id for one in doubts if isinstance(one, PredictionCreated)}
    if unneeded := [name for name in doubled if name not in adopted]:
        logger.error("one POST created more than one prediction", prediction_ids=unneeded)
        count("PredictionsDoubled", len(unneeded))
        costs.count_cost(len(unneeded))
        predictions.cancel_all(unneeded)
    if intended is None:
        return None
    _log_settled(doubts)
    if not asked:
        return intended
    answers = _create(intended, [intended.images[one.index] for one in asked], pace)
    change = record.move_on(intended, *answers, *meanwhile())
    made = [one for one in answers if isinstance(one, PredictionCreated)]
    if new := sum(not _is_known(change.before, one) for one in made):
        count("PredictionsCreated", new)
        costs.count_cost(new)
    _cancel_unneeded(change.job, made)
    return change.job


def _is_known(job: Job | None, made: PredictionCreated) -> bool:
    """Return whether a webhook or the list named the prediction before its answer was stored, and it was counted then."""
    return job is not None and job.images[made.index].prediction_id == made.prediction_id


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


def _cancel_unneeded(job: Job | None, made: Sequence[PredictionCreated]) -> None:
    """Cancel predictions that were created for a job which has been canceled or deleted meanwhile."""
    predictions.cancel_all(
        [
            one.prediction_id
            for one in made
            if job is None or job.images[one.index].prediction_id != one.prediction_id
        ]
    )


def _settled_doubts(job: Job, now: datetime) -> tuple[list[Event], dict[str, int]]:
    """Return what Replicate's list says about the images in doubt.

    Returns:
        What happened, and all predictions of a POST that created several, each with the index of its image.
    """
    doubtful = {
        Tag(job.job_id, image.index, image.attempt): image for image in job.having(ImageStatus.REQUESTING)
    }
    if not doubtful:
        return [], {}
    # A retry may bring back a doubt of long ago. The list is read for the oldest ones first, not for all the time between.
    oldest = min(image.asked_at or job.created_at for image in doubtful.values())
    doubtful = {
        tag: image
        for tag, image in doubtful.items()
        if (image.asked_at or job.created_at) < oldest + TOGETHER
    }
    asked = {tag: image.asked_at or job.created_at for tag, image in doubtful.items()}
    try:
        due = any(image.in_doubt_until is None or now >= image.in_doubt_until for image in doubtful.values())
        listed = listing.find(asked, whole=due)
    except ReplicateUnavailableError as error:
        logger.warning("the list of predictions cannot be read", reason=str(error))
        return [], {}
    events: list[Event] = []
    doubled: dict[str, int] = {}
    for tag, image in doubtful.items():
        found = listed.of(tag)
        if found:
            events.append(PredictionCreated(image.index, image.attempt, found[0]))
            doubled |= dict.fromkeys(found if len(found) > 1 else (), image.index)
        elif _proves_absence(listed, job, image, oldest, now):
            events.append(PredictionNotCreated(image.index, image.attempt, now, was_in_doubt=True))
    return events, doubled


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
    return listed.covers(asked_at) or now >= asked_at + timedelta(seconds=UNANSWERED_SECONDS)


def _log_settled(settled: Sequence[Event]) -> None:
    for event in settled:
        match event:
            case PredictionCreated(index, _, prediction_id):
                logger.info("adopted", image=index, prediction_id=prediction_id)
                count("PredictionsAdopted")
                costs.count_cost(1)
            case PredictionNotCreated(index, attempt):
                logger.warning("never made", image=index, attempt=attempt)
                count("PredictionsNeverMade")


def unasked(job: Job, now: datetime) -> list[Image]:
    """Return the images that still need a prediction, while there is time for one."""
    if job.status.is_terminal or (deadline(job) - now).total_seconds() < predictions.MIN_CANCEL_AFTER:
        return []
    return job.having(ImageStatus.PENDING)


def to_ask_for(job: Job, now: datetime) -> list[Image]:
    """Return the images whose predictions may be created now."""
    return [image for image in unasked(job, now) if image.not_before is None or image.not_before <= now]


def _asked(job: Job, image: Image, now: datetime, *, seeded: bool) -> Asked:
    # After a retry, the client's own seed would give the same output once more, or the same refusal.
    chosen = None if job.retries else job.request.asked_of(image.index).seed
    seed = (secrets.randbelow(LARGEST_SEED + 1) if chosen is None else chosen) if seeded else None
    return Asked(image.index, seed, at=now, in_doubt_until=now + timedelta(seconds=UNANSWERED_SECONDS))


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

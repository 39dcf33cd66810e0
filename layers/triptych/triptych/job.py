"""The job and its rules. Nothing here does I/O, reads a clock or knows AWS.

A job is a plain value. Everything that happens to it is an event, and only `apply` changes a job:

    job = apply(job, PredictionCreated(index=0, attempt=1, prediction_id="abc"), now)

An event that does not apply (a duplicate, a late event, one of an earlier attempt) returns the same object. This makes
redelivery, replays and races harmless. The job's status is never set: it is derived from the images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from triptych.failures import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class JobStatus(StrEnum):
    AWAITING_UPLOAD = "AWAITING_UPLOAD"
    GENERATING = "GENERATING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"

    @property
    def is_terminal(self) -> bool:
        return self not in {JobStatus.AWAITING_UPLOAD, JobStatus.GENERATING}


class ImageStatus(StrEnum):
    PENDING = "PENDING"  # needs a prediction
    REQUESTING = (
        "REQUESTING"  # the POST is about to be sent, or in doubt: a prediction may exist and be billed
    )
    GENERATING = "GENERATING"  # the prediction exists
    STORED = "STORED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def is_terminal(self) -> bool:
        return self in {ImageStatus.STORED, ImageStatus.FAILED, ImageStatus.CANCELED}


# The moves of an image that exist. No event makes another one.
MOVES: dict[ImageStatus, frozenset[ImageStatus]] = {
    ImageStatus.PENDING: frozenset({ImageStatus.REQUESTING, ImageStatus.FAILED, ImageStatus.CANCELED}),
    ImageStatus.REQUESTING: frozenset(
        {
            ImageStatus.PENDING,  # the prediction provably does not exist
            ImageStatus.GENERATING,
            ImageStatus.STORED,  # the webhook was faster than the answer to the POST, or the answer was lost
            ImageStatus.FAILED,
            ImageStatus.CANCELED,
        }
    ),
    ImageStatus.GENERATING: frozenset(
        {
            ImageStatus.PENDING,  # a retry asked for this output again, and Replicate does not have it any more
            ImageStatus.STORED,
            ImageStatus.FAILED,
            ImageStatus.CANCELED,
        }
    ),
    ImageStatus.STORED: frozenset(),
    # All by a retry of the owner. GENERATING: Replicate may still hold the output of the last prediction. REQUESTING: at
    # the deadline it was in doubt whether there is one.
    ImageStatus.FAILED: frozenset({ImageStatus.PENDING, ImageStatus.REQUESTING, ImageStatus.GENERATING}),
    ImageStatus.CANCELED: frozenset(),
}


class ImpossibleMoveError(Exception):
    """A rule below is wrong: it makes a move that MOVES does not name."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What the client asked of one image."""

    prompt: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What the client asked for. The table keeps it whole: a new field needs a default, for the jobs that lack it."""

    content_type: str  # of the photo
    size: int  # of the photo, in bytes
    checksum_sha256: str | None = None  # of the photo, in base64
    prompt: str | None = None
    image_count: int | None = None  # None: the stack's
    images: tuple[ImageRequest, ...] = ()
    style: str | None = None
    # The style's prompt when the job was created: the catalogue may change. It is no part of what the client sent.
    style_prompt: str | None = field(default=None, compare=False)
    model: str | None = None  # None: the stack's
    metadata: dict[str, str] = field(default_factory=dict)
    callback_url: str | None = None  # is posted to when the job ends
    photo_of: str | None = None  # the job whose photo is used; no other is uploaded
    image_of: int | None = None  # the image of that job that this one repeats

    def prompt_of(self, index: int) -> str | None:
        """Return the prompt of an image: the style's, then the image's own or else the job's. None: the stack's."""
        own = self.asked_of(index).prompt
        return " ".join(filter(None, (self.style_prompt, own or self.prompt))) or None

    def asked_of(self, index: int) -> ImageRequest:
        """Return what the client asked of an image. Without `images`, that is nothing."""
        return self.images[index] if index < len(self.images) else ImageRequest()


@dataclass(frozen=True, slots=True)
class Preview:
    """What the preview of an image, which lies beside it in S3, tells: the image's size and average colour."""

    width: int  # pixels of the image itself, upright
    height: int
    color: str  # "#rrggbb"


@dataclass(frozen=True, slots=True)
class Photo:
    """The uploaded photo."""

    key: str
    prepared_key: str | None = None  # the copy for the model, if the model cannot take the upload itself
    uninspected: bool = False  # the job ended before the photo was inspected: a retry inspects it first
    opens: int = 0  # counted tries to open it, after a first one that did not finish
    opening_until: datetime | None = None  # the last try has finished or died by then
    preview: Preview | None = None

    @property
    def model_key(self) -> str:
        """The key of the object that the model is given."""
        return self.prepared_key or self.key


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a model made and that lies in S3."""

    key: str
    content_type: str
    size: int  # bytes
    preview: Preview | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """One of a job's results."""

    index: int
    status: ImageStatus = ImageStatus.PENDING
    attempt: int = (
        0  # number of the last prediction; with the job and the index it names one POST to Replicate
    )
    seed: int | None = None
    prediction_id: str | None = None
    asked_at: datetime | None = None
    # REQUESTING: a prediction that Replicate does not list by then does not exist. An image that ended in doubt keeps it.
    in_doubt_until: datetime | None = None
    # PENDING: no POST before this time; its job waits in line, or its message was put back.
    not_before: datetime | None = None
    reclaimed: bool = (
        False  # a retry asks for the output of this prediction again, before it pays for another one
    )
    broken: int = 0  # looks of the watchdog that found a cut, empty or missing output
    billable: int = 0  # attempts that may have cost money: all but those that Replicate refused
    billable_before: int = 0  # of those, the ones before the last retry
    output: Output | None = None
    error: Failure | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One photo and what is made of it."""

    job_id: str
    owner: str
    created_at: datetime
    updated_at: datetime
    request: JobRequest
    photo: Photo
    images: tuple[Image, ...]
    uploaded_at: datetime | None = None
    retried_at: datetime | None = None
    entered_again_at: datetime | None = (
        None  # when the watchdog put it at the end of its line, in case its message is lost
    )
    retries: int = 0  # by the owner; those that changed nothing do not count
    counted: int = (
        0  # predictions that the creation or the last retry may create: they count toward the limits
    )
    closed_as: JobStatus | None = None  # CANCELED or EXPIRED: ends that cannot be derived from the images
    error: Failure | None = None  # of the job as a whole
    version: int | None = field(default=None, compare=False)  # of the stored item, for the optimistic lock

    @property
    def status(self) -> JobStatus:
        """The status, derived from the images. No stored status can contradict them."""
        if self.closed_as:
            return self.closed_as
        if self.uploaded_at is None:
            return JobStatus.AWAITING_UPLOAD
        if any(not image.status.is_terminal for image in self.images):
            return JobStatus.GENERATING
        stored = sum(image.status is ImageStatus.STORED for image in self.images)
        if stored == len(self.images):
            return JobStatus.SUCCEEDED
        return JobStatus.PARTIAL if stored else JobStatus.FAILED

    @property
    def has_photo(self) -> bool:
        """Whether the photo has arrived and was inspected: predictions may be created."""
        return self.uploaded_at is not None and not self.photo.uninspected

    @property
    def started_at(self) -> datetime | None:
        """When the deadline begins to count: at the upload or the last retry."""
        return self.retried_at or self.uploaded_at

    @property
    def ended_at(self) -> datetime | None:
        """When the job ended. Nothing changes a job that has ended, but a retry."""
        return self.updated_at if self.status.is_terminal else None

    @property
    def watched_since(self) -> datetime:
        """When the valid message for the watchdog was sent: at the creation or the last retry."""
        return self.retried_at or self.created_at

    @property
    def failure(self) -> Failure | None:
        """The failure of a job that has ended without any output. Each image has its own failure as well."""
        if self.status not in {JobStatus.FAILED, JobStatus.EXPIRED}:
            return None
        if self.error:
            return self.error
        errors = {image.error for image in self.images}
        only = errors.pop() if len(errors) == 1 else None
        return only or Failure.of(FailureKind.ALL_IMAGES_FAILED)

    def having(self, *statuses: ImageStatus) -> list[Image]:
        """Return the images in one of `statuses`, in order."""
        return [image for image in self.images if image.status in statuses]


def new_job(
    *, job_id: str, owner: str, request: JobRequest, photo_key: str, image_count: int, now: datetime
) -> Job:
    """Return a job that waits for its photo."""
    images = tuple(Image(index) for index in range(image_count))
    return Job(
        job_id,
        owner,
        created_at=now,
        updated_at=now,
        request=request,
        photo=Photo(photo_key),
        images=images,
        counted=image_count,
    )


# ── events ──


@dataclass(frozen=True, slots=True)
class UploadArrived:
    """The photo has been in S3 since `at`, under `key`, and the model can take it, if it was inspected."""

    key: str
    at: datetime
    prepared_key: str | None = None
    inspected: bool = True


@dataclass(frozen=True, slots=True)
class PhotoOpened:
    """The photo is about to be opened again. By `until`, this try has finished or died.

    This is stored before the try, because the photo may have killed the last invocation that opened it. The number of
    tries is limited.
    """

    at: datetime
    until: datetime
    uploaded_at: datetime


@dataclass(frozen=True, slots=True)
class PhotoLeft:
    """A try to open the photo (the one with this `until`) killed no invocation, so it does not count."""

    until: datetime


@dataclass(frozen=True, slots=True)
class PhotoPreviewed:
    """The preview of the photo lies in S3."""

    preview: Preview


@dataclass(frozen=True, slots=True)
class JobRejected:
    """The job ends before any prediction: the photo is not usable, or the stack is not configured for its model."""

    failure: FailureKind


@dataclass(frozen=True, slots=True)
class UploadExpired:
    """The photo was not uploaded in time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The POST for the image is about to be sent. This is stored first, so that no POST is ever forgotten."""

    index: int
    seed: int | None
    at: datetime
    in_doubt_until: datetime


@dataclass(frozen=True, slots=True)
class PredictionCreated:
    """The prediction exists: Replicate answered so, or it was adopted."""

    index: int
    attempt: int
    prediction_id: str


@dataclass(frozen=True, slots=True)
class PredictionNotCreated:
    """The prediction provably does not exist. The next POST may be sent from `not_before` on."""

    index: int
    attempt: int
    not_before: datetime
    was_in_doubt: bool = False  # only Replicate's list shows it; otherwise Replicate refused the POST


@dataclass(frozen=True, slots=True)
class WaitsInLine:
    """The images without a prediction wait for Replicate's rate limit since `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class EnteredAgain:
    """A new message for the job entered the line at this time. It takes the place of all earlier ones."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """The answer to the POST does not show whether the prediction exists. It is in doubt until then."""

    index: int
    attempt: int
    in_doubt_until: datetime


@dataclass(frozen=True, slots=True)
class GenerationRefused:
    """Replicate refuses the job's predictions, whichever image they are for. No further POST is sent for this job."""

    index: int
    attempt: int
    failure: FailureKind


@dataclass(frozen=True, slots=True)
class OutputStored:
    """The prediction's output lies in S3."""

    index: int
    attempt: int
    prediction_id: str
    output: Output


@dataclass(frozen=True, slots=True)
class OutputBroken:
    """The prediction's output is cut, empty or not at its URL. It may be whole later, but not for ever."""

    index: int
    attempt: int
    prediction_id: str


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """The prediction failed, or its output cannot be used.

    With `retries`, that holds until the next retry alone, which asks for the same output again.
    """

    index: int
    attempt: int
    prediction_id: str
    failure: FailureKind
    retries: int | None = None  # of the job, when it was read


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The job's deadline has passed. Images that are not stored have failed.

    The owner may have retried the job since it was read. Then it has a new deadline.
    """

    retries: int  # of the job, when it was read


@dataclass(frozen=True, slots=True)
class Canceled:
    """The owner canceled the job. Stored images stay."""


@dataclass(frozen=True, slots=True)
class Retried:
    """The owner retries the failed images at this time. This is the only event that reopens a job which has ended."""

    at: datetime


type Event = (
    UploadArrived
    | PhotoOpened
    | PhotoLeft
    | PhotoPreviewed
    | JobRejected
    | UploadExpired
    | Asked
    | PredictionCreated
    | PredictionNotCreated
    | WaitsInLine
    | EnteredAgain
    | AnswerLost
    | GenerationRefused
    | OutputStored
    | OutputBroken
    | ImageFailed
    | DeadlinePassed
    | Canceled
    | Retried
)

MOST_IMAGES = 10  # of a job
LARGEST_SEED = 2_147_483_647  # some models take no other integer
MOST_RETRIES = 4  # of a job
# Attempts for an image, in all retries together. An attempt that Replicate refused costs nothing, and a crowd has many.
MOST_BILLABLE = 20
MOST_ATTEMPTS = 2000
DOUBT = timedelta(
    seconds=30
)  # the n-th attempt that proves to be lost delays the next one by n times as long
MOST_OPENS = 3  # after the first try; a death can also have another reason than the photo
MOST_BROKEN = 5  # looks that may find an output broken: the fifth comes after about 13 minutes
# `Cancel-After` ends a prediction at its job's deadline. This is the highest GenerationDeadlineSeconds.
LONGEST_RUN = timedelta(seconds=3000)
OUTPUT_LIFE = timedelta(hours=1)  # from the end of its prediction on
# After these failures Replicate may still hold the output, for an hour after its end.
RECLAIMABLE = frozenset(
    kind.code
    for kind in (
        FailureKind.OUTPUT_UNAVAILABLE,
        FailureKind.DEADLINE_EXCEEDED,
        FailureKind.PREDICTION_LOST,  # one 404 is no proof: the token may have been another account's for a while
        # The operator can correct what refused it.
        FailureKind.OUTPUT_TOO_LARGE,
        FailureKind.OUTPUT_NOT_A_PICTURE,
        FailureKind.OUTPUT_HOST_NOT_ALLOWED,
    )
)
# With these, Replicate still holds the output, and another prediction's would be as far away.
OUT_OF_REACH = frozenset({FailureKind.OUTPUT_UNAVAILABLE, FailureKind.OUTPUT_HOST_NOT_ALLOWED})


def apply(job: Job, event: Event, now: datetime) -> Job:
    """Return the job after `event`, or the very same object if the event does not apply."""
    if job.status.is_terminal != isinstance(event, Retried):
        return job
    changed = _after(job, event)
    if changed == job:
        return job
    images = tuple(_ended(image, now) for image in changed.images)
    # A client tells an old answer from a new one by this time, in milliseconds, and the clocks of two functions differ.
    # Events of one write may have the same time.
    next_time = job.updated_at + timedelta(milliseconds=1)
    later = now if now == job.updated_at else max(now, next_time)
    return replace(changed, images=images, updated_at=later)


def _ended(image: Image, now: datetime) -> Image:
    if image.status.is_terminal == (image.ended_at is not None):
        return image
    return replace(image, ended_at=now if image.status.is_terminal else None)


def apply_all(job: Job, events: Sequence[Event], now: datetime) -> Job:
    """Return the job after all of `events`, in their order."""
    for event in events:
        job = apply(job, event, now)
    return job


def is_retryable(job: Job) -> bool:
    """Return whether a retry reopens the job: a failed image may succeed, and the job has a retry left."""
    return _may_succeed(job) and job.retries < MOST_RETRIES and bool(_retryable(job))


def has_used_its_retries(job: Job) -> bool:
    """Return whether a retry is refused only because the job has no retries left."""
    return job.status.is_terminal and _may_succeed(job) and job.retries >= MOST_RETRIES


def has_used_its_attempts(job: Job) -> bool:
    """Return whether a retry is refused only because no failed image has an attempt left."""
    return job.status.is_terminal and _may_succeed(job) and not _retryable(job)


def _may_succeed(job: Job) -> bool:
    retryable = job.error is None or job.error.retryable
    return not job.closed_as and bool(job.having(ImageStatus.FAILED)) and retryable


def waits_in_line(job: Job) -> bool:
    """Return whether the job waits for its turn to have predictions created."""
    unopened = job.uploaded_at is not None and not job.has_photo and job.photo.opens == 0
    return unopened or any(image.not_before for image in job.having(ImageStatus.PENDING))


def _retryable(job: Job) -> list[Image]:
    return [image for image in job.having(ImageStatus.FAILED) if _has_attempts(image)]


def _has_attempts(image: Image) -> bool:
    return image.billable < MOST_BILLABLE and image.attempt < MOST_ATTEMPTS


def awaits(image: Image, attempt: int, prediction_id: str) -> bool:
    """Return whether the image waits for this prediction, or may wait for it while that is in doubt."""
    known = image.prediction_id in {None, prediction_id}
    waits = image.status in {ImageStatus.REQUESTING, ImageStatus.GENERATING}
    return waits and known and image.attempt == attempt


def _after(job: Job, event: Event) -> Job:  # noqa: C901, PLR0911, PLR0912  # one table of transitions is easier to read than many functions
    match event:
        case UploadArrived(key, at, prepared_key, inspected):
            if job.has_photo:
                return job
            photo = replace(job.photo, key=key, prepared_key=prepared_key, uninspected=not inspected)
            # S3 says when in whole seconds, so a quick upload seems to be older than its job.
            return replace(job, uploaded_at=job.uploaded_at or max(at, job.created_at), photo=photo)
        case PhotoOpened(at, until, uploaded_at):
            if job.has_photo or (job.photo.opening_until and at < job.photo.opening_until):
                return job
            if job.photo.opens == MOST_OPENS:
                arrived = _after(job, UploadArrived(job.photo.key, uploaded_at))
                return _after(arrived, JobRejected(FailureKind.PHOTO_UNOPENABLE))
            photo = replace(job.photo, opens=job.photo.opens + 1, opening_until=until)
            return replace(job, photo=photo)
        case PhotoLeft(until):
            if job.has_photo or job.photo.opening_until != until:
                return job
            return replace(job, photo=replace(job.photo, opens=job.photo.opens - 1, opening_until=None))
        case PhotoPreviewed(preview):
            if not job.has_photo or job.photo.preview:
                return job
            return replace(job, photo=replace(job.photo, preview=preview))
        case JobRejected(kind):
            if job.having(ImageStatus.REQUESTING, ImageStatus.GENERATING):
                return job
            failure = Failure.of(kind)
            return replace(_move(job, ImageStatus.FAILED, error=failure), error=failure)
        case UploadExpired():
            if job.uploaded_at:
                return job
            closed = replace(job, closed_as=JobStatus.EXPIRED, error=Failure.of(FailureKind.UPLOAD_EXPIRED))
            return _move(closed, ImageStatus.CANCELED)
        case Asked(index, seed, at, in_doubt_until):
            if not job.has_photo or job.images[index].status is not ImageStatus.PENDING:
                return job
            image = job.images[index]
            asked = replace(
                image,
                status=ImageStatus.REQUESTING,
                attempt=image.attempt + 1,
                billable=image.billable + 1,
                seed=seed,
                asked_at=at,
                in_doubt_until=in_doubt_until,
                not_before=None,
            )
            return _put(job, asked)
        case PredictionCreated(index, attempt, prediction_id):
            if not _is_in_doubt(job.images[index], attempt):
                return job
            return _put(job, _created(job.images[index], prediction_id))
        case PredictionNotCreated(index, attempt, not_before, was_in_doubt):
            if not _is_in_doubt(job.images[index], attempt):
                return job
            return _put(job, _not_created(job, job.images[index], not_before, was_in_doubt=was_in_doubt))
        case WaitsInLine(at):
            return _in_line(job, at)
        case AnswerLost(index, attempt, in_doubt_until):
            if not _is_in_doubt(job.images[index], attempt):
                return job
            return _put(job, replace(job.images[index], in_doubt_until=in_doubt_until))
        case GenerationRefused(index, attempt, kind):
            if not _is_in_doubt(job.images[index], attempt):
                return job
            failure = Failure.of(kind)
            image = _not_billed(job.images[index])
            refused = replace(image, status=ImageStatus.FAILED, error=failure, in_doubt_until=None)
            job = _put(replace(job, error=failure), refused)
            return _move(job, ImageStatus.FAILED, only=ImageStatus.PENDING, error=failure)
        case OutputStored(index, attempt, prediction_id, output):
            if not awaits(job.images[index], attempt, prediction_id):
                return job
            stored = replace(_created(job.images[index], prediction_id), status=ImageStatus.STORED)
            return _put(job, replace(stored, output=output))
        case OutputBroken(index, attempt, prediction_id):
            image = job.images[index]
            if not awaits(image, attempt, prediction_id):
                return job
            if image.broken + 1 >= MOST_BROKEN:
                return _after(job, ImageFailed(index, attempt, prediction_id, FailureKind.OUTPUT_UNAVAILABLE))
            return _put(job, replace(_created(image, prediction_id), broken=image.broken + 1))
        case ImageFailed(index, attempt, prediction_id, kind, retries):
            if not awaits(job.images[index], attempt, prediction_id) or retries not in {None, job.retries}:
                return job
            return _put(job, _failed(job, job.images[index], prediction_id, kind))
        case DeadlinePassed(retries):
            if not job.uploaded_at or retries != job.retries:
                return job
            return _move(job, ImageStatus.FAILED, error=Failure.of(FailureKind.DEADLINE_EXCEEDED))
        case Canceled():
            return _move(replace(job, closed_as=JobStatus.CANCELED), ImageStatus.CANCELED)
        case Retried(at):
            return _reopened(job, at) if is_retryable(job) else job
        case EnteredAgain(at):
            return replace(job, entered_again_at=at)


def _reopened(job: Job, at: datetime) -> Job:
    images = tuple(replace(image, billable_before=image.billable) for image in job.images)
    job = replace(job, error=None, images=images, entered_again_at=None)
    failed = _retryable(job)
    for image in failed:
        job = _put(job, _retried(image, job, at))
    return replace(job, retried_at=at, retries=job.retries + 1, counted=len(failed))


def _in_line(job: Job, at: datetime) -> Job:
    for image in job.having(ImageStatus.PENDING):
        job = _put(job, replace(image, not_before=image.not_before or at))
    return job


def _failed(job: Job, image: Image, prediction_id: str, kind: FailureKind) -> Image:
    error = Failure.of(kind)
    if image.reclaimed and kind not in OUT_OF_REACH:  # the old output is gone: a new prediction is needed
        if job.error is None:
            return _once_more(image, job)
        error = job.error
    return replace(_created(image, prediction_id), status=ImageStatus.FAILED, error=error)


def _not_created(job: Job, image: Image, not_before: datetime, *, was_in_doubt: bool) -> Image:
    if not was_in_doubt:
        image = _not_billed(image)
    elif image.asked_at:
        not_before = max(not_before, image.asked_at + image.billable * DOUBT)
    return _once_more(image, job, not_before)


def _once_more(image: Image, job: Job, not_before: datetime | None = None) -> Image:
    """Return the image as it waits for another attempt, or as failed if there is none: no image waits without one."""
    again = Image(
        image.index,
        attempt=image.attempt,
        not_before=not_before,
        billable=image.billable,
        billable_before=image.billable_before,
    )
    used = None if _has_attempts(image) else Failure.of(FailureKind.ATTEMPTS_USED)
    error = job.error or used
    return replace(again, status=ImageStatus.FAILED, error=error, not_before=None) if error else again


def _not_billed(image: Image) -> Image:
    billable = max(0, image.billable - 1)  # an item of an older release has no count
    # The answer may come after a retry.
    return replace(image, billable=billable, billable_before=min(image.billable_before, billable))


def _retried(image: Image, job: Job, at: datetime) -> Image:
    doubtful = image.in_doubt_until and image.asked_at and at - image.asked_at < LONGEST_RUN + OUTPUT_LIFE
    if image.error and image.error.code in RECLAIMABLE and (image.prediction_id or doubtful):
        status = ImageStatus.GENERATING if image.prediction_id else ImageStatus.REQUESTING
        return replace(image, status=status, error=None, reclaimed=True, broken=0)
    return _once_more(image, job)


def _is_in_doubt(image: Image, attempt: int) -> bool:
    return image.status is ImageStatus.REQUESTING and image.attempt == attempt


def _created(image: Image, prediction_id: str) -> Image:
    return replace(image, status=ImageStatus.GENERATING, prediction_id=prediction_id, in_doubt_until=None)


def _put(job: Job, image: Image) -> Job:
    old = job.images[image.index]
    if image.status is not old.status and image.status not in MOVES[old.status]:
        raise ImpossibleMoveError(old, image)
    return replace(job, images=(*job.images[: image.index], image, *job.images[image.index + 1 :]))


def _move(
    job: Job, status: ImageStatus, *, only: ImageStatus | None = None, error: Failure | None = None
) -> Job:
    """Return the job with its unfinished images moved to `status`: all of them, or `only` those in one status."""
    for image in job.images:
        if not image.status.is_terminal and only in {None, image.status}:
            job = _put(job, replace(image, status=status, error=error, not_before=None))
    return job

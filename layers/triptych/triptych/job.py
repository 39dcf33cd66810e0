"""The job and its rules. Nothing here does I/O, reads a clock or knows of AWS.

A job is a plain value. Whatever happens to it is an event, and `apply` is the only way to change a job:

    job = apply(job, PredictionCreated(index=0, attempt=1, prediction_id="abc"), now)

An event that does not apply (a duplicate, a late one, one for another attempt) returns the job unchanged, the
same object, which is what makes redelivery, replays and races harmless. A job's status is not stored by anyone:
it is derived from its images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
    PENDING = "PENDING"  # to be asked for
    REQUESTING = "REQUESTING"  # about to be asked for, or asked for and in doubt: it may exist and be billed
    GENERATING = "GENERATING"  # known to exist at Replicate
    STORED = "STORED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def is_terminal(self) -> bool:
        return self in {ImageStatus.STORED, ImageStatus.FAILED, ImageStatus.CANCELED}


# From where to where an image may go: no event moves one otherwise.
MOVES: dict[ImageStatus, frozenset[ImageStatus]] = {
    ImageStatus.PENDING: frozenset({ImageStatus.REQUESTING, ImageStatus.FAILED, ImageStatus.CANCELED}),
    ImageStatus.REQUESTING: frozenset(
        {
            ImageStatus.PENDING,  # it provably does not exist
            ImageStatus.GENERATING,
            ImageStatus.STORED,  # its webhook was faster than the answer to the POST, or the answer was lost
            ImageStatus.FAILED,
            ImageStatus.CANCELED,
        }
    ),
    ImageStatus.GENERATING: frozenset({ImageStatus.STORED, ImageStatus.FAILED, ImageStatus.CANCELED}),
    ImageStatus.STORED: frozenset(),
    ImageStatus.FAILED: frozenset({ImageStatus.PENDING}),  # when its owner wants it tried again
    ImageStatus.CANCELED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Photo:
    """The upload: what the client announced, and where it lies."""

    key: str
    content_type: str
    size: int  # bytes
    checksum_sha256: str | None = None  # base64
    prepared_key: str | None = None  # the copy for the model, where the upload itself will not do
    opens: int = 0  # further tries to open it, after one that was not finished
    opening_until: datetime | None = None  # whoever tried last has finished, or is dead, by then

    @property
    def model_key(self) -> str:
        """Where what the model is given lies."""
        return self.prepared_key or self.key


@dataclass(frozen=True, slots=True)
class Output:
    """A generated picture that lies in S3."""

    key: str
    content_type: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Image:
    """One of the pictures of a job."""

    index: int
    status: ImageStatus = ImageStatus.PENDING
    attempt: int = 0  # how often it was asked for: with the job and the index it names one POST to Replicate
    seed: int | None = None
    prediction_id: str | None = None
    asked_at: datetime | None = None
    # PENDING: not to be asked for before this. REQUESTING: in doubt until this; a prediction that Replicate does
    # not list by then does not exist.
    not_before: datetime | None = None
    output: Output | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One photo and the pictures that are made of it."""

    job_id: str
    owner: str
    created_at: datetime
    updated_at: datetime
    photo: Photo
    images: tuple[Image, ...]
    prompt: str | None = None
    uploaded_at: datetime | None = None
    retried_at: datetime | None = None
    retries: int = 0  # that its owner asked for and that changed something
    closed_as: JobStatus | None = None  # CANCELED or EXPIRED: ends that its images alone do not tell
    error: Failure | None = None  # what befell the job as a whole
    version: int | None = field(default=None, compare=False)  # the table's, for its optimistic lock

    @property
    def status(self) -> JobStatus:
        """Derived from the images, and from nothing that could disagree with them."""
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
    def started_at(self) -> datetime | None:
        """From when the deadline counts: the upload, or the last retry."""
        return self.retried_at or self.uploaded_at

    @property
    def watched_since(self) -> datetime:
        """When the watchdog's message that counts was sent: at birth, or at the last retry."""
        return self.retried_at or self.created_at

    @property
    def failure(self) -> Failure | None:
        """What to tell of a job that brought nothing; what each image met is told with the image."""
        if self.error or self.status is not JobStatus.FAILED:
            return self.error
        errors = {image.error for image in self.images}
        only = errors.pop() if len(errors) == 1 else None
        return only or Failure.of(FailureKind.ALL_IMAGES_FAILED)

    def having(self, *statuses: ImageStatus) -> list[Image]:
        """The images in one of `statuses`, in order."""
        return [image for image in self.images if image.status in statuses]


def new_job(
    *, job_id: str, owner: str, photo: Photo, prompt: str | None, image_count: int, now: datetime
) -> Job:
    """A job that waits for its photo."""
    images = tuple(Image(index) for index in range(image_count))
    return Job(job_id, owner, created_at=now, updated_at=now, photo=photo, images=images, prompt=prompt)


# ── what can happen to a job ──


@dataclass(frozen=True, slots=True)
class UploadArrived:
    """The photo is in S3, `at` that time, under `key`, with `size` bytes, and fit to be given to the model."""

    key: str
    size: int
    at: datetime
    prepared_key: str | None = None


@dataclass(frozen=True, slots=True)
class PhotoOpened:
    """The photo is about to be opened again, which will have ended, well or not, at `until`.

    Stored before, since the photo may be what killed whoever opened it the last time, and none is opened for ever.
    """

    at: datetime
    until: datetime
    arrived: UploadArrived


@dataclass(frozen=True, slots=True)
class JobRejected:
    """Nobody should be paid for this job: its photo will not do, or the stack is not set up for it."""

    failure: FailureKind


@dataclass(frozen=True, slots=True)
class UploadExpired:
    """The photo never came."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The image is about to be asked for: stored before the POST leaves, so that no POST is ever unknown."""

    index: int
    seed: int | None
    at: datetime
    in_doubt_until: datetime


@dataclass(frozen=True, slots=True)
class PredictionCreated:
    """Replicate has this prediction: it said so, or it was found there."""

    index: int
    attempt: int
    prediction_id: str


@dataclass(frozen=True, slots=True)
class PredictionNotCreated:
    """The prediction provably does not exist, and may be asked for again from `not_before` on."""

    index: int
    attempt: int
    not_before: datetime


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """The POST was answered with nothing that tells whether the prediction exists: in doubt until then."""

    index: int
    attempt: int
    in_doubt_until: datetime


@dataclass(frozen=True, slots=True)
class GenerationRefused:
    """Replicate will not do this for us, whichever image it is: no more is asked of it for this job."""

    index: int
    attempt: int
    failure: FailureKind


@dataclass(frozen=True, slots=True)
class OutputStored:
    """The prediction's picture lies in S3."""

    index: int
    attempt: int
    prediction_id: str
    output: Output


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """The prediction came to nothing, or what it made cannot be used."""

    index: int
    attempt: int
    prediction_id: str
    failure: FailureKind


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """Time is up: what is not stored has failed."""


@dataclass(frozen=True, slots=True)
class Canceled:
    """Its owner wants no more of it; what is stored stays."""


@dataclass(frozen=True, slots=True)
class Retried:
    """Its owner wants the failed images tried again, from `at` on: the one event that opens a job that had ended."""

    at: datetime


type Event = (
    UploadArrived
    | PhotoOpened
    | JobRejected
    | UploadExpired
    | Asked
    | PredictionCreated
    | PredictionNotCreated
    | AnswerLost
    | GenerationRefused
    | OutputStored
    | ImageFailed
    | DeadlinePassed
    | Canceled
    | Retried
)

MOST_RETRIES = 4  # of a job, so an image has at most 5 predictions that are paid for
MOST_OPENS = 3  # after the first: each may also have been an accident of the machine's


def apply(job: Job, event: Event, now: datetime) -> Job:
    """The job after `event`, or the very same job where the event does not apply to it."""
    if job.status.is_terminal != isinstance(event, Retried):
        return job
    changed = _after(job, event)
    return job if changed == job else replace(changed, updated_at=now)


def apply_all(job: Job, events: Sequence[Event], now: datetime) -> Job:
    """The job after all of `events`, in their order."""
    for event in events:
        job = apply(job, event, now)
    return job


def is_retryable(job: Job) -> bool:
    """Whether a retry would open the job: an image failed that may do better, and the job has a retry left."""
    return _may_do_better(job) and job.retries < MOST_RETRIES


def has_used_its_retries(job: Job) -> bool:
    """Whether a retry is refused only because the job was retried as often as a job may be."""
    return job.status.is_terminal and _may_do_better(job) and job.retries >= MOST_RETRIES


def _may_do_better(job: Job) -> bool:
    retryable = job.error is None or job.error.retryable
    return not job.closed_as and bool(job.having(ImageStatus.FAILED)) and retryable


def awaits(image: Image, attempt: int, prediction_id: str) -> bool:
    """Whether this prediction is the one that the image waits for, or may be it while that is in doubt."""
    known = image.prediction_id in {None, prediction_id}
    waits = image.status in {ImageStatus.REQUESTING, ImageStatus.GENERATING}
    return waits and known and image.attempt == attempt


def _after(job: Job, event: Event) -> Job:  # noqa: C901, PLR0911, PLR0912  # the table of transitions, to read by eye
    match event:
        case UploadArrived(key, size, at, prepared_key):
            if job.uploaded_at:
                return job
            photo = replace(job.photo, key=key, size=size, prepared_key=prepared_key)
            return replace(job, uploaded_at=at, photo=photo)
        case PhotoOpened(at, until, arrived):
            if job.uploaded_at or (job.photo.opening_until and at < job.photo.opening_until):
                return job
            if job.photo.opens == MOST_OPENS:
                return _after(_after(job, arrived), JobRejected(FailureKind.PHOTO_UNOPENABLE))
            photo = replace(job.photo, opens=job.photo.opens + 1, opening_until=until)
            return replace(job, photo=photo)
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
            if job.uploaded_at is None or job.images[index].status is not ImageStatus.PENDING:
                return job
            attempt = job.images[index].attempt + 1
            asked = replace(job.images[index], status=ImageStatus.REQUESTING, attempt=attempt, seed=seed)
            return _put(job, replace(asked, asked_at=at, not_before=in_doubt_until))
        case PredictionCreated(index, attempt, prediction_id):
            if not _is_in_doubt(job.images[index], attempt):
                return job
            return _put(job, _created(job.images[index], prediction_id))
        case PredictionNotCreated(index, attempt, not_before):
            if not _is_in_doubt(job.images[index], attempt):
                return job
            again = replace(job.images[index], status=ImageStatus.PENDING, seed=None, not_before=not_before)
            refused = replace(again, status=ImageStatus.FAILED, error=job.error, not_before=None)
            return _put(job, refused if job.error else again)
        case AnswerLost(index, attempt, in_doubt_until):
            if not _is_in_doubt(job.images[index], attempt):
                return job
            return _put(job, replace(job.images[index], not_before=in_doubt_until))
        case GenerationRefused(index, attempt, kind):
            if not _is_in_doubt(job.images[index], attempt):
                return job
            failure = Failure.of(kind)
            refused = replace(job.images[index], status=ImageStatus.FAILED, error=failure, not_before=None)
            job = _put(replace(job, error=failure), refused)
            return _move(job, ImageStatus.FAILED, only=ImageStatus.PENDING, error=failure)
        case OutputStored(index, attempt, prediction_id, output):
            if not awaits(job.images[index], attempt, prediction_id):
                return job
            stored = replace(_created(job.images[index], prediction_id), status=ImageStatus.STORED)
            return _put(job, replace(stored, output=output))
        case ImageFailed(index, attempt, prediction_id, kind):
            if not awaits(job.images[index], attempt, prediction_id):
                return job
            failed = replace(_created(job.images[index], prediction_id), status=ImageStatus.FAILED)
            return _put(job, replace(failed, error=Failure.of(kind)))
        case DeadlinePassed():
            late = Failure.of(FailureKind.DEADLINE_EXCEEDED)
            return _move(job, ImageStatus.FAILED, error=late) if job.uploaded_at else job
        case Canceled():
            return _move(replace(job, closed_as=JobStatus.CANCELED), ImageStatus.CANCELED)
        case Retried(at):
            if not is_retryable(job):
                return job
            for image in job.having(ImageStatus.FAILED):
                job = _put(job, Image(image.index, attempt=image.attempt))
            return replace(job, retried_at=at, retries=job.retries + 1, error=None)


def _is_in_doubt(image: Image, attempt: int) -> bool:
    return image.status is ImageStatus.REQUESTING and image.attempt == attempt


def _created(image: Image, prediction_id: str) -> Image:
    return replace(image, status=ImageStatus.GENERATING, prediction_id=prediction_id, not_before=None)


def _put(job: Job, image: Image) -> Job:
    old = job.images[image.index]
    if image.status is not old.status and image.status not in MOVES[old.status]:
        return job
    return replace(job, images=(*job.images[: image.index], image, *job.images[image.index + 1 :]))


def _move(
    job: Job, status: ImageStatus, *, only: ImageStatus | None = None, error: Failure | None = None
) -> Job:
    """The job with its unfinished images (`only` those in that status) moved to `status`."""
    for image in job.images:
        if not image.status.is_terminal and only in {None, image.status}:
            job = _put(job, replace(image, status=status, error=error))
    return job

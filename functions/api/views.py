"""What the API takes and gives, as its description says it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from triptych.aws import bucket
from triptych.deadlines import upload_deadline
from triptych.job import Image, ImageStatus, Job, JobStatus  # pydantic reads them
from triptych.photo.formats import PHOTO_TYPES
from triptych.settings import settings

if TYPE_CHECKING:
    from typing import Self

    from triptych.failures import Failure

SHA256 = r"^[A-Za-z0-9+/]{43}=$"
EXAMPLE_ID = "0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52"


def _whole(value: object) -> object:
    """JSON knows one kind of number: 12.0 is 12."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class CreateJob(BaseModel):
    """A photo to be uploaded, and what to make of it."""

    model_config = ConfigDict(extra="forbid")

    content_type: Annotated[
        str,
        Field(
            max_length=100,
            description="The photo's media type.",
            json_schema_extra={"enum": list(PHOTO_TYPES)},
        ),
    ]
    content_length: Annotated[
        int,
        Field(gt=0, strict=True, description="The photo's size in bytes.", examples=[48211]),
        BeforeValidator(_whole),
    ]
    checksum_sha256: Annotated[
        str | None,
        Field(pattern=SHA256, description="The photo's SHA-256, base64; S3 then checks the upload."),
    ] = None
    prompt: Annotated[
        str | None,
        Field(
            max_length=2000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$", description="What to make of the photo."
        ),
    ] = None


class Upload(BaseModel):
    """How to upload the photo: once, to S3, with exactly these headers."""

    method: Literal["PUT"]
    url: str
    headers: dict[str, str]
    expires_at: str

    @classmethod
    def of(cls, job: Job, now: datetime) -> Self:
        """A link that is good for as long as one lives, but not longer than its job waits."""
        left = int((upload_deadline(job) - now).total_seconds())
        seconds = max(1, min(settings().upload_url_seconds, left))
        url, headers = bucket.presign_upload(job.photo, seconds)
        return cls(
            method="PUT",
            url=url,
            headers=headers,
            expires_at=settings().local_time(now + timedelta(seconds=seconds)),
        )


class JobCreated(BaseModel):
    job_id: str
    status: JobStatus
    upload: Annotated[
        Upload | None,
        Field(description="Null where the job of this Idempotency-Key waits for no photo any more."),
    ]

    @classmethod
    def of(cls, job: Job, now: datetime) -> Self:
        waits = job.status is JobStatus.AWAITING_UPLOAD
        return cls(job_id=job.job_id, status=job.status, upload=Upload.of(job, now) if waits else None)


class ErrorView(BaseModel):
    code: Annotated[str, Field(description="For programs.")]
    message: Annotated[str, Field(description="For people.")]

    @classmethod
    def of(cls, failure: Failure | None) -> Self | None:
        return cls(code=failure.code, message=failure.message) if failure else None


class ImageView(BaseModel):
    index: int
    status: ImageStatus
    seed: int | None
    prediction_id: str | None
    url: Annotated[
        str | None, Field(description="A link to the picture, good for a while, once it is STORED.")
    ]
    content_type: str | None
    size: Annotated[int | None, Field(description="In bytes.")]
    error: ErrorView | None

    @classmethod
    def of(cls, image: Image) -> Self:
        return cls(
            index=image.index,
            status=image.status,
            seed=image.seed,
            prediction_id=image.prediction_id,
            url=bucket.presign_output(image.output) if image.output else None,
            content_type=image.output.content_type if image.output else None,
            size=image.output.size if image.output else None,
            error=ErrorView.of(image.error),
        )


class JobView(BaseModel):
    job_id: str
    status: JobStatus
    created_at: str
    updated_at: str
    prompt: str | None
    images: list[ImageView]
    error: ErrorView | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            job_id=job.job_id,
            status=job.status,
            created_at=settings().local_time(job.created_at),
            updated_at=settings().local_time(job.updated_at),
            prompt=job.prompt,
            images=[ImageView.of(image) for image in job.images],
            error=ErrorView.of(job.failure),
        )


class JobList(BaseModel):
    jobs: list[JobView]
    cursor: Annotated[str | None, Field(description="For the next page; null after the last.")]


class Error(BaseModel):
    """What went wrong."""

    error: ErrorView


class Refusal(BaseModel):
    """What API Gateway itself answers to a bad token."""

    message: str

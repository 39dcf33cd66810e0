"""The API's requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from triptych.job import Image, ImageStatus, Job, JobRequest, JobStatus  # pydantic reads them
from triptych.photo.formats import PHOTO_TYPES
from triptych.settings import settings

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Protocol, Self

    from triptych.failures import Failure
    from triptych.flows.usage import Usage

    class Links(Protocol):
        """Presigned URLs of objects in S3."""

        def to(self, key: str, file_name: str | None = None) -> str | None: ...
        def to_preview(self, key: str) -> str | None: ...


SHA256 = r"^[A-Za-z0-9+/]{43}=$"
EXAMPLE_ID = "0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52"


def _whole(value: object) -> object:
    """Read 12.0 as 12: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class CreateJob(BaseModel):
    """The photo to upload, and the prompt."""

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
        Field(
            pattern=SHA256,
            description="The photo's SHA-256 in base64. If given, S3 checks the upload against it.",
        ),
    ] = None
    prompt: Annotated[
        str | None,
        Field(
            max_length=2000,
            pattern=r"^[^\x00]*[^\x00\s][^\x00]*$",
            description="What the model should make of the photo.",
        ),
    ] = None

    def to_request(self) -> JobRequest:
        return JobRequest(
            content_type=self.content_type,
            size=self.content_length,
            checksum_sha256=self.checksum_sha256,
            prompt=self.prompt,
        )


class Upload(BaseModel):
    """How to upload the photo. The URL accepts one upload, with exactly these headers."""

    method: Literal["PUT"]
    url: str
    headers: dict[str, str]
    expires_at: str


class JobCreated(BaseModel):
    job_id: str
    status: JobStatus
    upload: Annotated[
        Upload | None,
        Field(description="Null if the job of this Idempotency-Key no longer waits for its photo."),
    ]


class ErrorView(BaseModel):
    code: Annotated[str, Field(description="Stable code for programs.")]
    message: Annotated[str, Field(description="What happened and what to do, for people.")]

    @classmethod
    def of(cls, failure: Failure | None) -> Self | None:
        return cls(code=failure.code, message=failure.message) if failure else None


PRESIGNED = (
    "Presigned URL, valid for a limited time. It stays the same for a while, so that browsers cache it."
)
IN_LISTS = "Null in lists."


class PhotoView(BaseModel):
    """The uploaded photo."""

    url: Annotated[str | None, Field(description=f"{PRESIGNED} {IN_LISTS}")]
    preview_url: Annotated[
        str | None,
        Field(description=f"A WebP of at most 512 pixels. {PRESIGNED} Null if there is no preview."),
    ]
    content_type: str
    size: Annotated[int, Field(description="Size in bytes.")]
    width: Annotated[int | None, Field(description="Pixels. Null without a preview.")]
    height: Annotated[int | None, Field(description="Pixels. Null without a preview.")]
    color: Annotated[
        str | None, Field(description="Average colour, for the time before the preview has loaded.")
    ]

    @classmethod
    def of(cls, job: Job, links: Links) -> Self | None:
        if not job.uploaded_at:
            return None
        preview = job.photo.preview
        return cls(
            url=links.to(job.photo.key),
            preview_url=links.to_preview(job.photo.key) if preview else None,
            content_type=job.request.content_type,
            size=job.request.size,
            width=preview and preview.width,
            height=preview and preview.height,
            color=preview and preview.color,
        )


class ImageView(BaseModel):
    index: int
    status: ImageStatus
    seed: int | None
    prediction_id: str | None
    url: Annotated[str | None, Field(description=f"{PRESIGNED} Null until the image is STORED. {IN_LISTS}")]
    download_url: Annotated[
        str | None, Field(description=f"As `url`, but a browser saves the image as a file. {IN_LISTS}")
    ]
    preview_url: Annotated[
        str | None,
        Field(
            description=f"A WebP of at most 512 pixels. {PRESIGNED} Null until the image is STORED, and if it has none."
        ),
    ]
    content_type: str | None
    size: Annotated[int | None, Field(description="Size of the output in bytes.")]
    width: Annotated[int | None, Field(description="Pixels of the output. Null without a preview.")]
    height: Annotated[int | None, Field(description="Pixels of the output. Null without a preview.")]
    color: Annotated[
        str | None, Field(description="Average colour, for the time before the preview has loaded.")
    ]
    started_at: Annotated[str | None, Field(description="When the image was last requested from the model.")]
    ended_at: Annotated[str | None, Field(description="When the image was stored, failed or was canceled.")]
    error: ErrorView | None

    @classmethod
    def of(cls, job: Job, image: Image, links: Links) -> Self:
        output = image.output
        preview = output and output.preview
        return cls(
            index=image.index,
            status=image.status,
            seed=image.seed,
            prediction_id=image.prediction_id,
            url=links.to(output.key) if output else None,
            download_url=links.to(output.key, _file_name(job, image)) if output else None,
            preview_url=links.to_preview(output.key) if output and preview else None,
            content_type=output and output.content_type,
            size=output and output.size,
            width=preview and preview.width,
            height=preview and preview.height,
            color=preview and preview.color,
            started_at=_time(image.asked_at),
            ended_at=_time(image.ended_at),
            error=ErrorView.of(image.error),
        )


def _file_name(job: Job, image: Image) -> str:
    """Return the name under which a browser saves the output."""
    day = settings().local_time(job.created_at)[:10]
    extension = image.output.key.rpartition(".")[2] if image.output else ""
    return f"{day}-{job.job_id[:8]}-{image.index + 1}.{extension}"


def _time(time: datetime | None) -> str | None:
    return settings().local_time(time) if time else None


class JobView(BaseModel):
    job_id: str
    status: JobStatus
    created_at: str
    updated_at: str
    started_at: Annotated[str | None, Field(description="When the photo arrived, or the last retry.")]
    ended_at: Annotated[str | None, Field(description="When the job ended.")]
    prompt: str | None
    photo: Annotated[PhotoView | None, Field(description="Null until the photo has arrived.")]
    images: list[ImageView]
    error: ErrorView | None

    @classmethod
    def of(cls, job: Job, links: Links) -> Self:
        return cls(
            job_id=job.job_id,
            status=job.status,
            created_at=settings().local_time(job.created_at),
            updated_at=settings().local_time(job.updated_at),
            started_at=_time(job.started_at),
            ended_at=_time(job.ended_at),
            prompt=job.request.prompt,
            photo=PhotoView.of(job, links),
            images=[ImageView.of(job, image, links) for image in job.images],
            error=ErrorView.of(job.failure),
        )


class JobList(BaseModel):
    jobs: list[JobView]
    cursor: Annotated[str | None, Field(description="Send it to get the next page. Null on the last page.")]


class UsageView(BaseModel):
    """Pictures that you have ordered. Days and months are those of the stack's time zone."""

    pictures_today: int
    pictures_this_month: int
    daily_pictures: Annotated[
        int | None, Field(description="The most pictures that you may order in a day. Null: no limit.")
    ]
    day_ends_at: Annotated[str, Field(description="When the next day begins.")]
    active_jobs: Annotated[
        int, Field(description="Your unfinished jobs. 0 if their number has no limit: then nobody counts.")
    ]
    max_active_jobs: Annotated[
        int | None, Field(description="The most unfinished jobs that you may have. Null: no limit.")
    ]

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(
            pictures_today=usage.pictures_today,
            pictures_this_month=usage.pictures_this_month,
            daily_pictures=settings().daily_pictures_per_owner or None,
            day_ends_at=settings().local_time(usage.day_ends_at),
            active_jobs=usage.active_jobs,
            max_active_jobs=settings().max_active_jobs_per_owner or None,
        )


class Error(BaseModel):
    """Why the request failed."""

    error: ErrorView


class Refusal(BaseModel):
    """An answer of API Gateway itself."""

    message: str

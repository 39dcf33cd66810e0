"""The API's requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from triptych.callbacks import LONGEST_URL
from triptych.failures import FailureKind
from triptych.flows.create_job import limits
from triptych.job import (  # pydantic reads them
    LARGEST_SEED,
    MOST_IMAGES,
    MOST_RETRIES,
    Image,
    ImageStatus,
    Job,
    JobStatus,
)
from triptych.lazy import Lazy
from triptych.photo.formats import PHOTO_TYPES
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import Protocol

    from triptych.estimates import Estimate
    from triptych.failures import Failure
    from triptych.flows.usage import Usage

    class Links(Protocol):
        """Presigned URLs of objects in S3."""

        def to(self, key: str, file_name: str | None = None) -> str | None: ...
        def to_preview(self, key: str) -> str | None: ...
        def to_upload(self, job: Job) -> Upload | None: ...


SHA256 = r"^[A-Za-z0-9+/]{43}=$"
EXAMPLE_ID = "0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52"


LONGEST_PROMPT = 2000  # characters
MOST_METADATA = 16
METADATA_NAME = r"[A-Za-z0-9_.-]{1,40}"
ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"}


def _whole(value: object) -> object:
    """Read 12.0 as 12: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _empty_for_null(value: object) -> object:
    return {} if value is None else value


def _known_name(value: object) -> object:
    if not isinstance(value, str):
        return value
    name = value.lower()  # media types are the same in any case
    return ALIASES.get(name, name)


def _says_something(prompt: str) -> str:
    if not prompt.strip() or "\0" in prompt:
        raise PydanticCustomError("prompt", "write what the model should make of the photo, or leave it out")
    return prompt


def _few(entries: object) -> object:
    """Refuse many entries before each is checked: half a million characters of them took almost a second."""
    if isinstance(entries, dict) and len(entries) > MOST_METADATA:
        raise PydanticCustomError("metadata", f"write at most {MOST_METADATA} entries")
    return entries


Prompt = Annotated[
    str,
    Field(
        max_length=LONGEST_PROMPT,
        json_schema_extra={"pattern": r"^[^\x00]*[^\x00\s][^\x00]*$"},
        examples=["A watercolour with soft light."],
    ),
    AfterValidator(_says_something),
]
Time = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-24T21:05:00.000+09:00"])
]
JobId = Annotated[str, Field(json_schema_extra={"format": "uuid"}, examples=[EXAMPLE_ID])]
MetadataKey = Annotated[str, Field(pattern=f"^{METADATA_NAME}$")]
MetadataValue = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


def without_null(field: dict[str, JsonValue]) -> None:
    """Describe an optional field or parameter without null. The API takes null, but a client leaves it out."""
    if isinstance(choices := field.get("anyOf"), list):
        del field["anyOf"]
        field |= {
            name: part
            for one in choices
            if isinstance(one, dict) and one != {"type": "null"}
            for name, part in one.items()
        }


def _fields_without_null(schema: dict[str, JsonValue]) -> None:
    fields = schema["properties"]
    for field in fields.values() if isinstance(fields, dict) else ():
        if isinstance(field, dict):
            without_null(field)


class OrderedImage(Lazy):
    """What one image should be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_fields_without_null)

    prompt: Annotated[Prompt | None, Field(description="In place of the job's prompt.")] = None
    seed: Annotated[
        Annotated[int, Field(strict=True, ge=0, le=LARGEST_SEED), BeforeValidator(_whole)] | None,
        Field(
            description="The same seed gives a similar image. A retry takes another one, unless Replicate still holds the "
            "image's output."
        ),
    ] = None


_ORDERS: list[JsonValue] = [
    {"content_type": "image/jpeg", "content_length": 48211, "prompt": "A watercolour."},
    {
        "content_type": "image/png",
        "content_length": 48211,
        "style": "oil",
        "images": [{"prompt": "In spring."}, {"prompt": "In autumn.", "seed": 7}],
        "metadata": {"order": "A-17"},
    },
    {"photo_of": EXAMPLE_ID, "style": "pencil", "image_count": 1},
]


def _describe_order(schema: dict[str, JsonValue]) -> None:
    _fields_without_null(schema)
    schema["examples"] = _ORDERS
    fields = schema["properties"]
    metadata = fields["metadata"] if isinstance(fields, dict) else None
    if isinstance(metadata, dict) and isinstance(values := metadata.pop("patternProperties", None), dict):
        # The same, in the words that generators of clients know.
        ((name, value),) = values.items()
        metadata |= {"propertyNames": {"pattern": name}, "additionalProperties": value}


# A schema of its own, so that generated clients have a type of this name.
PHOTO_TYPE: dict[str, JsonValue] = {
    "type": "string",
    "enum": list(PHOTO_TYPES),
    "description": "The media type of a photo.",
}
_PHOTO_TYPE: dict[str, JsonValue] = {"$ref": "#/components/schemas/PhotoType"}


class CreateJob(BaseModel):
    """What to make of a photo. Either `content_type` and `content_length` announce an upload, or `photo_of` names a job."""

    model_config = ConfigDict(defer_build=True, extra="forbid", json_schema_extra=_describe_order)

    content_type: Annotated[
        Annotated[
            str,
            Field(max_length=100),
            BeforeValidator(_known_name),
            WithJsonSchema(_PHOTO_TYPE),
        ]
        | None,
        Field(
            description=(
                "The photo's media type. Some browsers do not know that of a HEIC, and leave `File.type` empty: then send "
                "`image/heic`."
            )
        ),
    ] = None
    content_length: Annotated[
        Annotated[int, Field(strict=True, gt=0), BeforeValidator(_whole)] | None,
        Field(description="The photo's size in bytes.", examples=[48211]),
    ] = None
    checksum_sha256: Annotated[
        Annotated[str, Field(pattern=SHA256)] | None,
        Field(description="The photo's SHA-256 in base64. If given, S3 checks the upload against it."),
    ] = None
    photo_of: Annotated[
        Annotated[JobId, AfterValidator(str.lower)] | None,
        Field(description="Use the photo of this job of yours: nothing is uploaded."),
    ] = None
    prompt: Annotated[
        Prompt | None,
        Field(description="What the model should make of the photo. It comes after the style's prompt."),
    ] = None
    style: Annotated[
        Annotated[str, Field(max_length=40)] | None,
        Field(description="The id of a style, from `GET /api/v1/styles`."),
    ] = None
    image_count: Annotated[
        Annotated[int, Field(strict=True, ge=1, le=MOST_IMAGES), BeforeValidator(_whole)] | None,
        Field(description="How many images to make, if not the stack's number."),
    ] = None
    images: Annotated[
        Annotated[list[OrderedImage], Field(min_length=1, max_length=MOST_IMAGES)] | None,
        Field(description="One entry for each image, in order."),
    ] = None
    model: Annotated[
        Annotated[str, Field(max_length=160)] | None,
        Field(description="One of the models of `GET /api/v1/limits`."),
    ] = None
    callback_url: Annotated[
        Annotated[str, Field(max_length=LONGEST_URL, json_schema_extra={"format": "uri"})] | None,
        Field(
            description=(
                "Is posted to when the job ends. Its host must be one of `callback_hosts` of `GET /api/v1/limits`."
            ),
            examples=["https://app.example.com/triptych"],
        ),
    ] = None
    metadata: Annotated[
        Annotated[dict[MetadataKey, MetadataValue], BeforeValidator(_empty_for_null)],
        Field(
            max_length=MOST_METADATA,
            description="Your own short texts. They are returned with the job, and stand in its event.",
        ),
        BeforeValidator(_few),
    ] = {}

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        announced = self.content_type is not None and self.content_length is not None
        announces = any(
            one is not None for one in (self.content_type, self.content_length, self.checksum_sha256)
        )
        if self.photo_of is not None and announces:
            raise PydanticCustomError(
                "photo", "send photo_of, or announce an upload with content_type and content_length, not both"
            )
        if self.photo_of is None and not announced:
            missing = "content_type" if self.content_type is None else "content_length"
            raise PydanticCustomError("photo", f"{missing} is missing")
        if self.images is not None and self.image_count is not None:
            raise PydanticCustomError("images", "send images or image_count, not both")
        return self


class Upload(Lazy):
    """How to upload the photo. The URL accepts one upload, with exactly these headers."""

    method: Literal["PUT"]
    url: str
    headers: dict[str, str]
    expires_at: Time


_UPLOAD: dict[str, JsonValue] = {
    "method": "PUT",
    "url": "https://triptych-photos-….s3.ap-northeast-2.amazonaws.com/uploads/…?X-Amz-Signature=…",
    "headers": {"Content-Type": "image/jpeg", "If-None-Match": "*"},
    "expires_at": "2026-11-24T21:20:00.000+09:00",
}
_PRESIGNED_EXAMPLE = "https://triptych-photos-….s3.ap-northeast-2.amazonaws.com/outputs/…?X-Amz-Signature=…"
_STORED: dict[str, JsonValue] = {
    "index": 0,
    "status": "STORED",
    "prompt": None,
    "seed": 7,
    "prediction_id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "url": _PRESIGNED_EXAMPLE,
    "download_url": _PRESIGNED_EXAMPLE,
    "preview_url": _PRESIGNED_EXAMPLE,
    "content_type": "image/png",
    "size": 481114,
    "width": 1024,
    "height": 768,
    "color": "#7a5c61",
    "started_at": "2026-11-24T21:05:04.120+09:00",
    "ended_at": "2026-11-24T21:05:13.900+09:00",
    "error": None,
}
_FAILED: dict[str, JsonValue] = dict.fromkeys(_STORED) | {
    "index": 1,
    "status": "FAILED",
    "seed": 8,
    "prediction_id": "hn4rpsaeihcgvswkuwih7edliv",
    "started_at": "2026-11-24T21:05:04.120+09:00",
    "ended_at": "2026-11-24T21:05:09.310+09:00",
    "error": {"code": FailureKind.CONTENT_REJECTED.code, "message": FailureKind.CONTENT_REJECTED.message},
}
_JOB: dict[str, JsonValue] = {
    "job_id": EXAMPLE_ID,
    "status": "PARTIAL",
    "created_at": "2026-11-24T21:05:00.000+09:00",
    "updated_at": "2026-11-24T21:05:13.900+09:00",
    "started_at": "2026-11-24T21:05:03.000+09:00",
    "ended_at": "2026-11-24T21:05:13.900+09:00",
    "model": "black-forest-labs/flux-kontext-pro",
    "style": "oil",
    "prompt": "In autumn.",
    "metadata": {"order": "A-17"},
    "progress": None,
    "upload": None,
    "photo": {
        "url": _PRESIGNED_EXAMPLE,
        "preview_url": _PRESIGNED_EXAMPLE,
        "content_type": "image/jpeg",
        "size": 48211,
        "width": 4032,
        "height": 3024,
        "color": "#5c6f61",
    },
    "images": [_STORED, _FAILED],
    "error": None,
}


def _example(value: dict[str, JsonValue]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class JobCreated(Lazy):
    model_config = _example({"job_id": EXAMPLE_ID, "status": "AWAITING_UPLOAD", "upload": _UPLOAD})

    job_id: JobId
    status: JobStatus
    upload: Annotated[
        Upload | None,
        Field(
            description="Null if no photo is to be uploaded: with `photo_of`, or if it has arrived, or if the order is "
            "repeated in the last minutes before the job expires."
        ),
    ]


def _codes(wanted: Callable[[FailureKind], object]) -> dict[str, JsonValue]:
    return {"enum": [kind.code for kind in FailureKind if wanted(kind)]}


class ErrorView(Lazy):
    """Why a job or an image has no output."""

    code: Annotated[
        str, Field(description="Stable code for programs.", json_schema_extra=_codes(lambda kind: kind.ends))
    ]
    message: Annotated[str, Field(description="What happened and what to do, for people.")]

    @classmethod
    def of(cls, failure: Failure | None) -> Self | None:
        return cls(code=failure.code, message=failure.message) if failure else None


PRESIGNED = (
    "Presigned URL, valid for a limited time. It stays the same for a while, so that browsers cache it."
)
IN_LISTS = "Null in lists."


class PhotoView(Lazy):
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


class ImageView(Lazy):
    index: int
    status: ImageStatus
    prompt: Annotated[str | None, Field(description="The image's own prompt, if the order gave it one.")]
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
    started_at: Annotated[Time | None, Field(description="When the image was last requested from the model.")]
    ended_at: Annotated[Time | None, Field(description="When the image was stored, failed or was canceled.")]
    error: ErrorView | None

    @classmethod
    def of(cls, job: Job, image: Image, links: Links) -> Self:
        output = image.output
        preview = output and output.preview
        return cls(
            index=image.index,
            status=image.status,
            prompt=job.request.asked_of(image.index).prompt,
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


class Progress(Lazy):
    """Seconds from `started_at` to the end of recent jobs of the same model. Null if too few are known."""

    typical_seconds: Annotated[float | None, Field(description="Half of the jobs took no longer.")]
    slow_seconds: Annotated[float | None, Field(description="Nine of ten jobs took no longer.")]

    @classmethod
    def of(cls, job: Job, expected: Estimate | None) -> Self | None:
        if job.status is not JobStatus.GENERATING:
            return None
        return cls(
            typical_seconds=expected and expected.typical_seconds,
            slow_seconds=expected and expected.slow_seconds,
        )


class JobView(Lazy):
    model_config = _example(_JOB)

    job_id: JobId
    status: JobStatus
    created_at: Time
    updated_at: Time
    started_at: Annotated[Time | None, Field(description="When the photo arrived, or the last retry.")]
    ended_at: Annotated[Time | None, Field(description="When the job ended.")]
    model: Annotated[str | None, Field(description="The model that the order chose. Null: the stack's own.")]
    style: str | None
    prompt: Annotated[str | None, Field(description="The job's own prompt, without the style's.")]
    metadata: dict[str, str]
    progress: Annotated[
        Progress | None, Field(description="How long the job may take. Null unless images are generated.")
    ]
    upload: Annotated[
        Upload | None,
        Field(
            description="How to upload the photo, as long as the job awaits an upload. Null in lists, and in the job's last "
            "minutes, which are left to uploads under way."
        ),
    ]
    photo: Annotated[PhotoView | None, Field(description="Null until the photo has arrived.")]
    images: list[ImageView]
    error: Annotated[
        ErrorView | None,
        Field(description="Why a job that is FAILED or EXPIRED has no output. Null in any other status."),
    ]

    @classmethod
    def of(cls, job: Job, links: Links, expected: Estimate | None) -> Self:
        return cls(
            job_id=job.job_id,
            status=job.status,
            created_at=settings().local_time(job.created_at),
            updated_at=settings().local_time(job.updated_at),
            started_at=_time(job.started_at),
            ended_at=_time(job.ended_at),
            model=job.request.model,
            style=job.request.style,
            prompt=job.request.prompt,
            metadata=job.request.metadata,
            progress=Progress.of(job, expected),
            upload=links.to_upload(job),
            photo=PhotoView.of(job, links),
            images=[ImageView.of(job, image, links) for image in job.images],
            error=ErrorView.of(job.failure),
        )


class JobList(Lazy):
    model_config = _example({"jobs": [_JOB], "cursor": None})

    jobs: list[JobView]
    cursor: Annotated[str | None, Field(description="Send it to get the next page. Null on the last page.")]


class StyleView(Lazy):
    """A style that an order may name."""

    id: str
    name: str
    description: str
    preview: Annotated[
        str | None, Field(description="URL of a picture in this style. It may be relative to the API's URL.")
    ]


class StyleList(Lazy):
    model_config = _example(
        {
            "styles": [
                {
                    "id": "oil",
                    "name": "Oil painting",
                    "description": "Thick brush strokes and warm light.",
                    "preview": "/api/v1/styles/oil/preview",
                }
            ]
        }
    )

    styles: list[StyleView]


class LimitsView(Lazy):
    """What an order may ask for, and for how long things last."""

    model_config = _example(
        {
            "photo_types": list(PHOTO_TYPES),
            "max_upload_bytes": 26_214_400,
            "max_photo_pixels": 70_000_000,
            "default_image_count": 3,
            "max_image_count": MOST_IMAGES,
            "max_prompt_length": LONGEST_PROMPT,
            "max_metadata": MOST_METADATA,
            "models": ["black-forest-labs/flux-kontext-pro"],
            "takes_seed": True,
            "callback_hosts": ["app.example.com"],
            "max_retries": 4,
            "daily_pictures": 600,
            "max_active_jobs": 100,
            "upload_url_seconds": 900,
            "download_url_seconds": 900,
            "deadline_seconds": 1800,
            "retention_days": 30,
        }
    )

    photo_types: list[Annotated[str, WithJsonSchema(_PHOTO_TYPE)]]
    max_upload_bytes: int
    max_photo_pixels: Annotated[int, Field(description="Width times height of the photo.")]
    default_image_count: int
    max_image_count: Annotated[int, Field(description="Of one order. A low daily limit lowers it.")]
    max_prompt_length: Annotated[int, Field(description="Characters.")]
    max_metadata: Annotated[int, Field(description="Entries.")]
    models: Annotated[list[str], Field(description="The default first.")]
    takes_seed: Annotated[bool, Field(description="Whether the default model takes a seed.")]
    callback_hosts: Annotated[
        list[str],
        Field(description="Hosts of callback URLs, each with its subdomains. Empty: there are no callbacks."),
    ]
    max_retries: Annotated[int, Field(description="Of a job.")]
    daily_pictures: Annotated[int | None, Field(description="Null: no limit.")]
    max_active_jobs: Annotated[int | None, Field(description="Null: no limit.")]
    upload_url_seconds: int
    download_url_seconds: int
    deadline_seconds: Annotated[int, Field(description="From the upload to the end of a job.")]
    retention_days: int

    @classmethod
    def of_this_stack(cls) -> Self:
        given = settings()
        return cls(
            photo_types=list(PHOTO_TYPES),
            max_upload_bytes=given.max_upload_bytes,
            max_photo_pixels=given.max_photo_pixels,
            default_image_count=given.image_count,
            max_image_count=min(MOST_IMAGES, limits().pictures_of_order or MOST_IMAGES),
            max_prompt_length=LONGEST_PROMPT,
            max_metadata=MOST_METADATA,
            models=list(given.models),
            takes_seed=given.takes_seed(None),
            callback_hosts=list(given.allowed_callback_hosts),
            max_retries=MOST_RETRIES,
            daily_pictures=given.daily_pictures_per_owner or None,
            max_active_jobs=given.max_active_jobs_per_owner or None,
            upload_url_seconds=given.upload_url_seconds,
            download_url_seconds=given.download_url_seconds,
            deadline_seconds=given.generation_deadline_seconds,
            retention_days=given.retention_days,
        )


class WebhookSecret(Lazy):
    """The secret that signs your callbacks."""

    model_config = _example({"secret": "whsec_…"})

    secret: Annotated[
        str, Field(description="Give it to a library of https://www.standardwebhooks.com.", pattern="^whsec_")
    ]


class UsageView(Lazy):
    """Pictures that you have ordered. Days and months are those of the stack's time zone."""

    model_config = _example(
        {
            "pictures_today": 12,
            "pictures_this_month": 230,
            "daily_pictures": 600,
            "day_ends_at": "2026-11-25T00:00:00.000+09:00",
            "active_jobs": 1,
            "max_active_jobs": 100,
        }
    )

    pictures_today: int
    pictures_this_month: int
    daily_pictures: Annotated[
        int | None, Field(description="The most pictures that you may order in a day. Null: no limit.")
    ]
    day_ends_at: Annotated[Time, Field(description="When the next day begins.")]
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


class RequestErrorView(Lazy):
    code: Annotated[
        str,
        Field(description="Stable code for programs.", json_schema_extra=_codes(lambda kind: kind.status)),
    ]
    message: Annotated[str, Field(description="What happened and what to do, for people.")]


class ErrorResponse(Lazy):
    """Why the request failed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": FailureKind.INVALID_REQUEST.code,
                        "message": "content_length: Input should be greater than 0. Correct the request.",
                    }
                }
            ]
        }
    )

    error: RequestErrorView


class Refusal(Lazy):
    """An answer of API Gateway itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message": "Unauthorized"}]})

    message: str

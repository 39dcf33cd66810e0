"""The event bus: one event on EventBridge's default bus when a job ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from triptych.aws import session
from triptych.job import Image, ImageStatus, Job, JobStatus  # pydantic reads them
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from typing import Self

    from triptych.failures import Failure

SOURCE = "triptych"


class EventRefusedError(Exception):
    """EventBridge did not accept the event. A later try may succeed."""


class EndedError(BaseModel):
    code: str
    message: str

    @classmethod
    def of(cls, failure: Failure | None) -> Self | None:
        return cls(code=failure.code, message=failure.message) if failure else None


class EndedImage(BaseModel):
    index: int
    status: ImageStatus
    seed: int | None
    prediction_id: str | None
    content_type: str | None
    size: int | None  # bytes
    error: EndedError | None

    @classmethod
    def of(cls, image: Image) -> Self:
        return cls(
            index=image.index,
            status=image.status,
            seed=image.seed,
            prediction_id=image.prediction_id,
            content_type=image.output and image.output.content_type,
            size=image.output and image.output.size,
            error=EndedError.of(image.error),
        )


class Detail(BaseModel):
    """The event's `detail`. Every rule on the bus can read it, so it holds no URL, no key and no prompt."""

    stack: str | None  # all stacks of an account and region share one bus
    job_id: str
    owner: str
    status: JobStatus
    created_at: str
    updated_at: str
    metadata: dict[str, str]
    images: list[EndedImage]
    error: EndedError | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            stack=settings().stack_name,
            job_id=job.job_id,
            owner=job.owner,
            status=job.status,
            created_at=settings().local_time(job.created_at),
            updated_at=settings().local_time(job.updated_at),
            metadata=job.request.metadata,
            images=[EndedImage.of(image) for image in job.images],
            error=EndedError.of(job.failure),
        )


def detail_type(status: JobStatus) -> str:
    """Return the event's `detail-type`."""
    return f"Job {status.title()}"


def announce(job: Job) -> None:
    """Put the event of a job's end on the bus. Calling it twice puts two events with the same `detail`.

    Raises:
        ValueError: The job has not ended.
        EventRefusedError: EventBridge did not accept the event.
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: EventBridge did not answer.
    """
    if not job.status.is_terminal:
        raise ValueError(f"The job is {job.status}. It has not ended.")
    entry = {
        "Source": SOURCE,
        "DetailType": detail_type(job.status),
        "Detail": Detail.of(job).model_dump_json(),
        "Time": job.updated_at,
    }
    answer = _events().put_events(Entries=[entry])
    if answer["FailedEntryCount"]:  # the HTTP status is 200 all the same
        raise EventRefusedError(answer["Entries"][0].get("ErrorCode"))


@once
def _events() -> Any:  # noqa: ANN401  # no stubs are installed for EventBridge
    return session.boto3_session().client("events", config=session.BRIEF)

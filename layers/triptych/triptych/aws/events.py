"""What the world is told when a job ends: one event on EventBridge's default bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.config import Config
from pydantic import BaseModel

from triptych.aws import session
from triptych.job import Image, ImageStatus, Job, JobStatus  # pydantic reads them
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from typing import Self

    from triptych.failures import Failure

SOURCE = "triptych"


class NotTaken(Exception):  # noqa: N818  # a verdict
    """EventBridge did not take the event; it may take it the next time."""


class _Error(BaseModel):
    code: str
    message: str

    @classmethod
    def of(cls, failure: Failure | None) -> Self | None:
        return cls(code=failure.code, message=failure.message) if failure else None


class _EndedImage(BaseModel):
    index: int
    status: ImageStatus
    seed: int | None
    prediction_id: str | None
    content_type: str | None
    size: int | None  # bytes
    error: _Error | None

    @classmethod
    def of(cls, image: Image) -> Self:
        return cls(
            index=image.index,
            status=image.status,
            seed=image.seed,
            prediction_id=image.prediction_id,
            content_type=image.output and image.output.content_type,
            size=image.output and image.output.size,
            error=_Error.of(image.error),
        )


class Detail(BaseModel):
    """The event's `detail`. Whoever has a rule on the bus reads it: it holds no link, no key and no prompt."""

    stack: str | None  # one bus serves all stacks of an account and region
    job_id: str
    owner: str
    status: JobStatus
    created_at: str
    updated_at: str
    images: list[_EndedImage]
    error: _Error | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            stack=settings().stack_name,
            job_id=job.job_id,
            owner=job.owner,
            status=job.status,
            created_at=settings().local_time(job.created_at),
            updated_at=settings().local_time(job.updated_at),
            images=[_EndedImage.of(image) for image in job.images],
            error=_Error.of(job.failure),
        )


def announce(job: Job) -> None:
    """Put the event of a job's end on the bus. The same end told twice is two events with the same `detail`.

    Raises:
        ValueError: the job has not ended.
        NotTaken: EventBridge said no to this event.
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: it could not be asked.
    """
    if not job.status.is_terminal:
        raise ValueError(f"the job is {job.status}, which is no end")
    entry = {
        "Source": SOURCE,
        "DetailType": f"Job {job.status.title()}",
        "Detail": Detail.of(job).model_dump_json(),
        "Time": job.updated_at,
    }
    answer = _events().put_events(Entries=[entry])
    if answer["FailedEntryCount"]:  # with a status of 200
        raise NotTaken(answer["Entries"][0].get("ErrorCode"))


@once
def _events() -> Any:  # noqa: ANN401  # its stubs are not installed
    config = Config(connect_timeout=2, read_timeout=4, retries={"mode": "standard", "max_attempts": 3})
    return session.boto3_session().client("events", config=config)

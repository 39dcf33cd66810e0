"""The two queues: their messages, and the visibility of a message that has to wait."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from botocore.config import Config
from pydantic import BaseModel, ConfigDict, Field

from triptych.aws import session
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LONGEST_DELAY = 900  # seconds; SQS takes no more


class Left(BaseModel):
    """A prediction that a job which is no more has left running, or may have."""

    model_config = ConfigDict(frozen=True)

    image: int
    attempt: int
    prediction_id: str | None
    in_doubt_until: datetime | None  # without an id: when it must have shown itself, if it was made


class WatchdogMessage(BaseModel):
    """What the watchdog queue carries: one for each job, from its birth (or its retry) to its end."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    born_at: datetime
    left: tuple[Left, ...] | None = None  # of a job that was deleted at `born_at`


class GenerationMessage(BaseModel):
    """Generate the pictures of one job; beside S3's own notifications, what the generation queue carries."""

    job_id: Annotated[str, Field(min_length=1, max_length=64)]
    original_s3_key: str
    again: bool = False  # somebody may have died of this photo


def send_to_generation(job_id: str, photo_key: str, *, again: bool = False, delay: int = 0) -> None:
    """Have a job's pending pictures asked for in `delay` seconds, as if its photo had just arrived.

    With `again`, as if it had once before.
    """
    message = GenerationMessage(job_id=job_id, original_s3_key=photo_key, again=again)
    _sqs().send_message(
        QueueUrl=_given("GENERATION_QUEUE_URL", settings().generation_queue_url),
        MessageBody=message.model_dump_json(),
        DelaySeconds=min(delay, LONGEST_DELAY),
    )


def send_to_watchdog(message: WatchdogMessage, *, delay: int) -> None:
    """Have the watchdog look at a job in `delay` seconds."""
    _sqs().send_message(
        QueueUrl=_given("WATCHDOG_QUEUE_URL", settings().watchdog_queue_url),
        MessageBody=message.model_dump_json(),
        DelaySeconds=min(delay, LONGEST_DELAY),
    )


def put_back(receipt_handle: str, *, seconds: int) -> None:
    """Let the generation queue deliver this message again in `seconds`, instead of when its visibility ends."""
    _sqs().change_message_visibility(
        QueueUrl=_given("GENERATION_QUEUE_URL", settings().generation_queue_url),
        ReceiptHandle=receipt_handle,
        VisibilityTimeout=seconds,
    )


def _given(name: str, value: str | None) -> str:
    if value is None:
        raise RuntimeError(f"this function has no {name}")
    return value


@once
def _sqs() -> SQSClient:
    config = Config(connect_timeout=2, read_timeout=4, retries={"mode": "standard", "max_attempts": 3})
    return session.boto3_session().client("sqs", config=config)

"""The queues: their messages, and the visibility of a message that has to wait.

The generation queue and the waiting queue hold the same messages, and `generate` reads both. The waiting queue, the
watchdog's and that of callbacks serve owners in turn: SQS delivers the messages of quiet owners first.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field

from triptych.aws import session
from triptych.lazy import Lazy
from triptych.runtime.observability import logger
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageRequestTypeDef

LONGEST_DELAY = 900  # seconds; the limit of SQS


class RunningPrediction(Lazy):
    """A prediction of a deleted or canceled job that runs on, or may run on."""

    model_config = ConfigDict(frozen=True)

    image: int
    attempt: int
    prediction_id: str | None
    asked_at: datetime | None = None
    in_doubt_until: datetime | None  # without an id: Replicate lists it by then, if it exists


class WatchdogMessage(Lazy):
    """A message of the watchdog queue. Each job has one, from its creation (or retry) to its end.

    The cancellation and the deletion of a job each send another one, which lasts until nothing of the job runs on.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    born_at: datetime
    left: tuple[RunningPrediction, ...] | None = None  # only if the job was deleted, at `born_at`
    canceled_at: datetime | None = None  # only if the owner cancels the job: when
    uploads_until: datetime | None = None  # of a deleted job: until when an upload of its photo may arrive
    group: str | None = None  # of the job's owner; a message of an older release has none


class GenerationMessage(Lazy):
    """A message of the generation queue (beside S3's own notifications) or the waiting queue: generate one job's images."""

    job_id: Annotated[str, Field(min_length=1, max_length=64)]
    original_s3_key: str
    again: bool = False  # an invocation may have died while it opened this photo
    entered_at: datetime | None = (
        None  # of a message that took the place of earlier ones in the waiting queue
    )
    # All predictions of one POST. The message only cancels those that their image has not taken.
    doubled: dict[str, int] = Field(default={})


class CallbackMessage(Lazy):
    """A message of the queue of callbacks. The body is fixed at the job's end: the job may change, or be deleted."""

    model_config = ConfigDict(frozen=True)

    url: str
    owner: str
    job_id: str
    webhook_id: str
    body: str  # JSON


def send_to_generation(job_id: str, photo_key: str, *, again: bool = False, delay: int = 0) -> None:
    """Have `generate` continue with a job in `delay` seconds, as if its photo had just arrived.

    Args:
        job_id: The job.
        photo_key: Where its photo lies.
        again: This is not the first delivery for the job.
        delay: Seconds.
    """
    message = GenerationMessage(job_id=job_id, original_s3_key=photo_key, again=again)
    _send(_generation_queue(), message, delay)


def send_to_waiting(
    job_id: str,
    photo_key: str,
    owner: str,
    *,
    entered_at: datetime | None,
    again: bool = False,
    delay: int = 0,
) -> None:
    """Let a job wait in line for Replicate's rate limit.

    Args:
        job_id: The job.
        photo_key: Where its photo lies.
        owner: The job's owner. Owners are served in turn.
        entered_at: When the job entered the line again, if it did.
        again: An invocation may have died while it opened this photo.
        delay: Seconds until the job enters the line.
    """
    message = GenerationMessage(job_id=job_id, original_s3_key=photo_key, again=again, entered_at=entered_at)
    _send(_waiting_queue(), message, delay, group=group_of(owner))


def send_doubled(job_id: str, photo_key: str, doubled: dict[str, int], *, delay: int) -> None:
    """Have `generate` cancel, in `delay` seconds, all predictions of one POST but the one that the image took.

    Args:
        job_id: The job.
        photo_key: Where its photo lies.
        doubled: The predictions, each with the index of its image.
        delay: Seconds.
    """
    message = GenerationMessage(job_id=job_id, original_s3_key=photo_key, doubled=doubled)
    _send(_generation_queue(), message, delay)


def send_to_watchdog(message: WatchdogMessage, *, delay: int) -> None:
    """Have the watchdog look at a job in `delay` seconds. Owners are served in turn."""
    _send(_watchdog_queue(), message, delay, group=message.group)


def send_to_callbacks(message: CallbackMessage) -> None:
    """Have the client that ordered a job called back. Owners are served in turn."""
    _send(_callback_queue(), message, 0, group=group_of(message.owner))


def group_of(owner: str) -> str:
    """Return the name that SQS gets for an owner, to serve owners in turn."""
    return hashlib.sha256(owner.encode()).hexdigest()


def _send(url: str, message: BaseModel, delay: int, *, group: str | None = None) -> None:
    request: SendMessageRequestTypeDef = {
        "QueueUrl": url,
        # SQS refuses some characters that JSON allows.
        "MessageBody": message.model_dump_json(ensure_ascii=True),
        "DelaySeconds": min(delay, LONGEST_DELAY),
    }
    if group:
        request["MessageGroupId"] = group
    _sqs().send_message(**request)


def sent_at(record: SQSRecord) -> datetime:
    """Return when a delivered message was sent, by the clock of SQS."""
    return datetime.fromtimestamp(int(record.attributes.sent_timestamp) / 1000, UTC)


def is_of_waiting_queue(queue_arn: str) -> bool:
    """Return whether this is the ARN of the waiting queue."""
    return queue_arn.rpartition(":")[2] == _waiting_queue().rpartition("/")[2]


def remove_from_waiting(receipt_handle: str) -> None:
    """Delete this message of the waiting queue before its invocation ends. If that fails, Lambda deletes it later."""
    try:
        _sqs().delete_message(QueueUrl=_waiting_queue(), ReceiptHandle=receipt_handle)
    except (BotoCoreError, ClientError) as error:
        logger.warning("not deleted yet", reason=type(error).__name__)


def put_back(receipt_handle: str, *, seconds: int, waiting: bool = False) -> None:
    """Have the queue deliver this message again in `seconds`, before its visibility timeout ends.

    Args:
        receipt_handle: The message.
        seconds: Seconds.
        waiting: It is a message of the waiting queue, not of the generation queue.
    """
    _deliver_again(_waiting_queue() if waiting else _generation_queue(), receipt_handle, seconds)


def put_callback_back(receipt_handle: str, *, seconds: int) -> None:
    """Have the queue of callbacks deliver this message again in `seconds`."""
    _deliver_again(_callback_queue(), receipt_handle, seconds)


def repeat_if_it_dies(receipt_handle: str, *, seconds: int) -> None:
    """Have the watchdog's queue deliver this message again in `seconds`, unless its look ends before.

    It is tried once, for up to 2 s. An error is logged.
    """
    try:
        _impatient_sqs().change_message_visibility(
            QueueUrl=_watchdog_queue(), ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
        )
    except (BotoCoreError, ClientError) as error:
        logger.warning("cannot be repeated sooner", reason=type(error).__name__)


def _deliver_again(queue_url: str, receipt_handle: str, seconds: int) -> None:
    _sqs().change_message_visibility(
        QueueUrl=queue_url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
    )


def _watchdog_queue() -> str:
    return _given("WATCHDOG_QUEUE_URL", settings().watchdog_queue_url)


def _generation_queue() -> str:
    return _given("GENERATION_QUEUE_URL", settings().generation_queue_url)


def _waiting_queue() -> str:
    return _given("WAITING_QUEUE_URL", settings().waiting_queue_url)


def _callback_queue() -> str:
    return _given("JOB_CALLBACK_QUEUE_URL", settings().job_callback_queue_url)


def _given(name: str, value: str | None) -> str:
    if value is None:
        raise RuntimeError(f"{name} is not set. This function has no permission for that queue.")
    return value


@once
def _sqs() -> SQSClient:
    return session.boto3_session().client("sqs", config=session.BRIEF)


@once
def _impatient_sqs() -> SQSClient:
    return session.boto3_session().client("sqs", config=session.IMPATIENT)

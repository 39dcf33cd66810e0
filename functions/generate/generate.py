"""Create the predictions for a photo that has arrived.

The generation queue delivers S3 event notifications and messages of the form `{"job_id", "original_s3_key"}`. With
`"doubled"`, such a message names predictions that are only to be canceled, each with its image. The waiting queue delivers such messages for
jobs that wait in line.
"""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from pydantic import TypeAdapter, ValidationError

from triptych import backoff
from triptych.aws import bucket, queues
from triptych.aws.queues import GenerationMessage
from triptych.flows import doubts, open_photo, wait_in_line
from triptych.job import LONGEST_RUN
from triptych.lazy import Lazy
from triptych.pace import Pace
from triptych.replicate import transport
from triptych.runtime import clock
from triptych.runtime.observability import logger, metrics, unexpected, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

# What this process knows about Replicate's rate limit.
pace = Pace()
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


class _S3Object(Lazy):
    key: str  # URL-encoded, with + for a space


class _S3Entity(Lazy):
    object: _S3Object


class _S3Record(Lazy):
    s3: _S3Entity


class S3Notification(Lazy):
    Records: list[_S3Record]


class S3TestEvent(Lazy):
    """The message that S3 sends once, when its notifications are configured."""

    Event: str


type Message = GenerationMessage | S3Notification | S3TestEvent

MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


class NotYetError(Exception):
    """Some predictions could not be requested yet. SQS keeps the message, which has been put back."""


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
    return process_partial_response(event, _record, processor, context)


def _record(record: SQSRecord) -> None:
    try:
        message = MESSAGE.validate_json(record.body)
    except ValidationError as error:
        unreadable(record.message_id, error)
        return
    receives = int(record.attributes.approximate_receive_count)
    for task in _tasks(message):
        again = task.again or receives > 1
        if task.doubled:
            _cancel(record, task, receives)
        elif queues.is_of_waiting_queue(record.event_source_arn):
            with _put_back(record, receives, waiting=True):
                _take_turn(record, task, again=again)
        else:
            _photo(record, task, receives, again=again)


def _cancel(record: SQSRecord, task: GenerationMessage, receives: int) -> None:
    if clock.now() >= queues.sent_at(record) + LONGEST_RUN:
        return  # `Cancel-After` has ended them
    with _put_back(record, receives, waiting=False):
        canceled = doubts.cancel_doubled(task.job_id, task.doubled)
    if not canceled:
        queues.put_back(record.receipt_handle, seconds=round(backoff.seconds_after(receives)))
        raise NotYetError


def _photo(record: SQSRecord, task: GenerationMessage, receives: int, *, again: bool) -> None:
    with _put_back(record, receives, waiting=False):
        # The watchdog sends a message for each photo that was not opened. So these may be many, too.
        is_first = receives == 1 and _waited_long(record)
        if is_first and wait_in_line.pass_on(task.job_id, task.original_s3_key, again=again):
            return
        job = open_photo.photo_arrived(task.job_id, task.original_s3_key, pace, again=again)
        if wait_in_line.enter_if_throttled(job, pace):
            return
    wait = backoff.seconds_until_next(job, receives, clock.now())
    if wait is None:
        return
    logger.info("put back", seconds=wait, tries=receives)
    if backoff.is_worn_out(receives):
        queues.send_to_generation(task.job_id, task.original_s3_key, again=True, delay=wait)
        return
    queues.put_back(record.receipt_handle, seconds=wait)
    raise NotYetError


@contextmanager
def _put_back(record: SQSRecord, receives: int, *, waiting: bool) -> Iterator[None]:
    """After an error, put the message back. Otherwise it would wait until its visibility timeout ends."""
    try:
        yield
    except Exception:
        unexpected("put back", tries=receives)
        seconds = round(backoff.seconds_after(receives))
        queues.put_back(record.receipt_handle, seconds=seconds, waiting=waiting)
        raise


def _take_turn(record: SQSRecord, task: GenerationMessage, *, again: bool) -> None:
    rest = wait_in_line.take_turn(
        task.job_id, task.original_s3_key, pace, again=again, entered_at=task.entered_at
    )
    if rest:
        # SQS counts the time until the message is deleted as time that its owner uses.
        queues.remove_from_waiting(record.receipt_handle)
        logger.info("rests", seconds=round(rest))
        clock.sleep(rest)


def _waited_long(record: SQSRecord) -> bool:
    """Return whether the message had to wait for a free invocation: many photos arrive."""
    sent, received = record.attributes.sent_timestamp, record.attributes.approximate_first_receive_timestamp
    return int(received) - int(sent) > wait_in_line.CROWD_SECONDS * 1000


def _tasks(message: Message) -> list[GenerationMessage]:
    match message:
        case GenerationMessage():
            return [message]
        case S3Notification(Records=records):
            keys = [unquote_plus(record.s3.object.key) for record in records]
            uploads = [(bucket.job_of_upload(key), key) for key in keys]
            return [
                GenerationMessage(job_id=job_id, original_s3_key=key) for job_id, key in uploads if job_id
            ]
        case S3TestEvent():
            return []


transport.prepare()
init.done()

"""Create the predictions for a photo that has arrived.

The generation queue delivers S3 event notifications and messages of the form `{"job_id", "original_s3_key"}`. With
`"doubled"`, such a message names predictions that are only to be canceled.
"""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from pydantic import BaseModel, TypeAdapter, ValidationError

from triptych import backoff
from triptych.aws import bucket, queues
from triptych.aws.queues import GenerationMessage
from triptych.flows import generate
from triptych.replicate import predictions, transport
from triptych.runtime import clock
from triptych.runtime.observability import count, logger, metrics, unexpected

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


class _S3Object(BaseModel):
    key: str  # URL-encoded, with + for a space


class _S3Entity(BaseModel):
    object: _S3Object


class _S3Record(BaseModel):
    s3: _S3Entity


class S3Notification(BaseModel):
    Records: list[_S3Record]


class S3TestEvent(BaseModel):
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
        # Not put back: a redelivery would be unreadable too.
        logger.error("unreadable message", message_id=record.message_id, problems=error.error_count())
        count("UnexpectedErrors")
        return
    receives = int(record.attributes.approximate_receive_count)
    for task in _tasks(message):
        if task.doubled:
            if not predictions.cancel_all(task.doubled):
                queues.put_back(record.receipt_handle, seconds=round(backoff.seconds_after(receives)))
                raise NotYetError
            continue
        try:
            job = generate.photo_arrived(task.job_id, task.original_s3_key, again=task.again or receives > 1)
        except Exception:
            unexpected("put back", tries=receives)
            # Without this, the message would wait until its visibility timeout ends.
            queues.put_back(record.receipt_handle, seconds=round(backoff.seconds_after(receives)))
            raise
        wait = backoff.seconds_until_next(job, receives, clock.now())
        if wait is None:
            continue
        logger.info("put back", seconds=wait, tries=receives)
        if backoff.is_worn_out(receives):
            queues.send_to_generation(task.job_id, task.original_s3_key, again=True, delay=wait)
            continue
        queues.put_back(record.receipt_handle, seconds=wait)
        raise NotYetError


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

"""Call back the client that ordered a job. A callback that is not accepted is tried again for a day."""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from pydantic import ValidationError

from triptych import callbacks
from triptych.aws import queues
from triptych.aws.queues import CallbackMessage
from triptych.flows import call_back
from triptych.runtime.observability import (
    about_job,
    about_no_job,
    count,
    logger,
    metrics,
    unexpected,
    unreadable,
)

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
    return process_partial_response(event, _record, processor, context)


def _record(record: SQSRecord) -> None:
    about_no_job()
    try:
        message = CallbackMessage.model_validate_json(record.body)
    except ValidationError as error:
        unreadable(record.message_id, error)
        return
    about_job(message.job_id)
    tries = int(record.attributes.approximate_receive_count)
    try:
        call_back.deliver(message)
    except call_back.NotDeliveredError as error:
        logger.info("not delivered", tries=tries, reason=str(error))
        count("CallbacksRefused")
        if tries >= callbacks.MOST_TRIES:
            # No dead letter: a client that orders callbacks to a dead URL must not set off the operator's alarm.
            logger.warning("callback given up", tries=tries)
            count("CallbacksGivenUp")
            return
        _put_back(record, tries)
        raise
    except Exception:
        unexpected("callback failed", tries=tries)
        _put_back(record, tries)
        raise
    logger.info("delivered", tries=tries)


def _put_back(record: SQSRecord, tries: int) -> None:
    queues.put_callback_back(record.receipt_handle, seconds=callbacks.seconds_to_next(tries))


init.done()

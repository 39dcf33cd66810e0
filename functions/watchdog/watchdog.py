"""Look at a job. Look again later if the job has not ended."""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from pydantic import ValidationError

import triptych.flows.watch
from triptych.aws import queues
from triptych.runtime import clock
from triptych.runtime.observability import about_job, logger, metrics, unexpected, unreadable
from triptych.successors import Successors

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
successors = Successors()  # a process's own


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
    return process_partial_response(event, _record, processor, context)


def _record(record: SQSRecord) -> None:
    try:
        message = queues.WatchdogMessage.model_validate_json(record.body)
    except ValidationError as error:
        unreadable(record.message_id, error)
        return
    if successors.has_later(message, queues.sent_at(record)):
        about_job(message.job_id)
        logger.info("copy of a message", message_id=record.message_id)
        return
    try:
        receives = int(record.attributes.approximate_receive_count)
        delay = triptych.flows.watch.look(message, receives, record.receipt_handle)
    except Exception:  # noqa: BLE001  # the job must be looked at again after any error
        # A new message, not a redelivery: SQS gives a message up after some receives, and a job may need more looks.
        unexpected("the look failed")
        delay = triptych.flows.watch.seconds_after_failure(message)
    if delay is not None:
        now = clock.now()
        queues.send_to_watchdog(message, delay=delay)
        successors.sent(message, now)


init.done()

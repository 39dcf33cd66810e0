"""The jobs table's stream reports that a job has ended: publish it.

The event source mapping lets through only what its filter in template.yaml matches: changes from a status that is
no end to one that is. The write that ended the job is what sets this off, so no crash can come between the two.
"""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from triptych.aws import events, table
from triptych.runtime.observability import about_job, about_no_job, logger, metrics, unexpected

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

processor = BatchProcessor(event_type=EventType.DynamoDBStreams, raise_on_entire_batch_failure=False)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
    return process_partial_response(event, _record, processor, context)


def _record(record: DynamoDBRecord) -> None:
    about_no_job()  # yet: the record before this one was about another job
    try:
        job = table.read_image(record.raw_event["dynamodb"]["NewImage"])
        about_job(job.job_id)
        events.announce(job)
    except Exception:
        # Unreadable or not taken: tried again, and in the end left to the dead-letter queue, whose alarm tells.
        unexpected("not announced", event_id=record.event_id)
        raise
    logger.info("announced", status=job.status)


init.done()

"""Announce the end of a job, and count it as ended.

The stream of the jobs table invokes this function. The filter in template.yaml lets through only the writes that end or
delete a job. The write itself causes the invocation, so no crash can come between the two.
"""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

from collections import OrderedDict
from contextlib import ExitStack
from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from triptych.aws import counts, durations, event_bus, table
from triptych.runtime.observability import about_job, about_no_job, logger, metrics, unexpected

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from triptych.job import Job

REMEMBERED = 1000  # steps; a batch has ten records

processor = BatchProcessor(event_type=EventType.DynamoDBStreams, raise_on_entire_batch_failure=False)
done: OrderedDict[tuple[str, datetime, str], None] = OrderedDict()  # the job, when it ended, and the step


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
    return process_partial_response(event, _record, processor, context)


def _record(record: DynamoDBRecord) -> None:
    about_no_job()  # the previous record was about another job
    try:
        images = record.raw_event["dynamodb"]
        # Without an owner, the new image is the placeholder of a deleted job.
        is_deleted = "owner" not in images.get("NewImage", {})
        job = table.read_image(images["OldImage" if is_deleted else "NewImage"])
        about_job(job.job_id)
        with ExitStack() as steps:  # from the last to the first; no failure keeps the others from being done
            if not is_deleted:
                steps.callback(_do, durations.note, job)
                steps.callback(_do, _call_back, job)
                steps.callback(_do, event_bus.announce, job)
            steps.callback(_do, counts.release, job)
    except Exception:
        # Lambda delivers the record again. In the end it puts it into the bucket of dead letters, which has an alarm.
        unexpected("not announced", event_id=record.event_id)
        raise
    logger.info("deleted before its end" if is_deleted else "announced", status=job.status)


def _do(step: Callable[[Job], None], job: Job) -> None:
    """Do a step for this end of the job, unless this process has done it.

    The record comes again, up to 20 times, if one of its steps fails. Without this memory, a client would be called back
    each time that the event bus refuses the event.
    """
    key = job.job_id, job.updated_at, step.__name__
    if key in done:
        return
    step(job)
    done[key] = None
    if len(done) > REMEMBERED:
        done.popitem(last=False)


def _call_back(job: Job) -> None:
    if job.request.callback_url:
        from triptych.flows.order_callback import order_callback  # noqa: PLC0415  # slow to import, and few orders name a URL

        order_callback(job)


init.done()

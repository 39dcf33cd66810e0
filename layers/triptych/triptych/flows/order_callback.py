"""Have the client that ordered a job called back when the job has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from triptych import callbacks
from triptych.aws import queues
from triptych.aws.event_bus import Detail  # pydantic reads it
from triptych.settings import settings

if TYPE_CHECKING:
    from triptych.job import Job


class Body(BaseModel):
    """What a callback posts."""

    type: str  # "job.succeeded", "job.partial", …
    timestamp: str  # when the job ended
    data: Detail


def order_callback(job: Job) -> None:
    """Put the callback of a job's end on its queue, if the order named a URL. Calling it twice calls back twice.

    Raises:
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: SQS did not answer.
    """
    url = job.request.callback_url
    if not url or not settings().job_callback_queue_url:  # the operator has switched callbacks off
        return
    detail = Detail.of(job)
    body = Body(type=callbacks.event_type(job.status), timestamp=detail.updated_at, data=detail)
    queues.send_to_callbacks(
        queues.CallbackMessage(
            url=url,
            owner=job.owner,
            job_id=job.job_id,
            webhook_id=callbacks.message_id(job),
            body=body.model_dump_json(),
        )
    )

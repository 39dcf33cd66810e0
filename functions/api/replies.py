"""The API's answers: views of jobs with presigned URLs, as JSON."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler import Response, content_types

from triptych.aws import bucket
from triptych.deadlines import upload_url_seconds
from triptych.job import JobStatus
from triptych.runtime import clock
from triptych.settings import settings
from views import JobCreated, JobView, Upload

if TYPE_CHECKING:
    from pydantic import BaseModel

    from triptych.job import Job

POLL_SECONDS = 2  # between two requests of a client that waits


def respond(status: HTTPStatus, view: BaseModel, headers: dict[str, str] | None = None) -> Response[str]:
    return Response(
        status_code=status,
        content_type=content_types.APPLICATION_JSON,
        headers={"Cache-Control": "no-store", **(headers or {})},
        body=view.model_dump_json(),
    )


def created(job: Job) -> Response[str]:
    """Return a new job. If it waits for its photo, the answer holds the upload URL."""
    upload = _upload(job) if job.status is JobStatus.AWAITING_UPLOAD else None
    return respond(HTTPStatus.CREATED, JobCreated(job_id=job.job_id, status=job.status, upload=upload))


def _upload(job: Job) -> Upload:
    now = clock.now()
    seconds = upload_url_seconds(job, now)
    url, headers = bucket.presign_upload(job, seconds)
    expires_at = settings().local_time(now + timedelta(seconds=seconds))
    return Upload(method="PUT", url=url, headers=headers, expires_at=expires_at)


def view_of(job: Job) -> JobView:
    return JobView.of(job, bucket.presign_output)


def changed(job: Job) -> Response[str]:
    return respond(HTTPStatus.OK, view_of(job))


def polled(job: Job, if_none_match: str | None) -> Response[str]:
    """Return the job, or 304 if the client has its current view."""
    etag = _etag(job)
    headers = {"ETag": etag}
    if not job.status.is_terminal:
        headers["Retry-After"] = str(POLL_SECONDS)
    known = if_none_match or ""
    if etag in known or known.strip() == "*":
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers, body="")
    return respond(HTTPStatus.OK, view_of(job), headers)


def _etag(job: Job) -> str:
    """Return an ETag that changes with the job, and before the presigned URLs of the last answer expire."""
    span = max(1, settings().download_url_seconds // 2)
    return f'"{job.version}-{int(clock.now().timestamp()) // span}"'

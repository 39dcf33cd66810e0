"""The API's answers: views of jobs with presigned URLs, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler import Response, content_types

from triptych.aws import bucket, durations, links, table
from triptych.deadlines import upload_url_seconds
from triptych.job import JobStatus
from triptych.runtime import clock
from triptych.settings import settings
from views import JobCreated, JobList, JobView, Upload

if TYPE_CHECKING:
    from datetime import datetime

    from pydantic import BaseModel

    from triptych.estimates import Estimate
    from triptych.job import Job

# Of a page of jobs. Lambda answers 6 MB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MOST_BYTES = 5_000_000
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
    view = JobCreated(job_id=job.job_id, status=job.status, upload=_upload(job))
    return respond(HTTPStatus.CREATED, view, {"Location": f"/api/v1/jobs/{job.job_id}"})


def _upload(job: Job) -> Upload | None:
    now = clock.now()
    seconds = _upload_seconds(job, now)
    if not seconds:
        return None
    url, headers = bucket.presign_upload(job, seconds)
    expires_at = settings().local_time(now + timedelta(seconds=seconds))
    return Upload(method="PUT", url=url, headers=headers, expires_at=expires_at)


def _upload_seconds(job: Job, now: datetime) -> int:
    """Return how long an upload URL made `now` is valid. 0: the job awaits no upload."""
    awaits = job.status is JobStatus.AWAITING_UPLOAD and not job.request.photo_of
    return upload_url_seconds(job, now) if awaits else 0


@dataclass(frozen=True, slots=True)
class _Links:
    """Presigned URLs. A list has only those of previews: it may hold a hundred jobs, and a client opens few of them."""

    previews_only: bool = False

    def to(self, key: str, file_name: str | None = None) -> str | None:
        return None if self.previews_only else bucket.link(key, file_name=file_name)

    def to_preview(self, key: str) -> str:
        return bucket.link(bucket.preview_key(key))

    def to_upload(self, job: Job) -> Upload | None:
        return None if self.previews_only else _upload(job)


def view_of(job: Job) -> JobView:
    return JobView.of(job, _Links(), _expected(job))


def view_in_list(job: Job) -> JobView:
    return JobView.of(job, _Links(previews_only=True), _expected(job))


def _expected(job: Job) -> Estimate | None:
    return durations.expected(job) if job.status is JobStatus.GENERATING else None


def listed(jobs: list[Job], following: str | None) -> Response[str]:
    """Return a page of jobs, or as many of them as Lambda may answer, with the cursor of the rest."""
    views = [view_in_list(job) for job in jobs]
    answer = respond(HTTPStatus.OK, JobList(jobs=views, cursor=following))
    while (size := _bytes_sent(answer)) > MOST_BYTES and len(views) > 1:
        fitting = len(views) * MOST_BYTES // size
        views = views[: max(1, min(fitting, len(views) - 1))]
        rest = table.cursor_after(jobs[len(views) - 1])
        answer = respond(HTTPStatus.OK, JobList(jobs=views, cursor=rest))
    return answer


def _bytes_sent(answer: Response[str]) -> int:
    """Return the size of the body as Lambda sends it: a JSON string, in which a quotation mark may take four bytes."""
    return len(json.dumps(str(answer.body), ensure_ascii=False).encode())


def changed(job: Job) -> Response[str]:
    return respond(HTTPStatus.OK, view_of(job))


def polled(job: Job, if_none_match: str | None) -> Response[str]:
    """Return the job, or 304 if the client has its current view."""
    headers = {"ETag": _etag(job)}
    if not job.status.is_terminal:
        headers["Retry-After"] = str(POLL_SECONDS)
    if is_known(job, if_none_match):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers, body="")
    return respond(HTTPStatus.OK, view_of(job), headers)


def is_known(job: Job, if_none_match: str | None) -> bool:
    """Return whether the client has the current view of the job."""
    known = if_none_match or ""
    return _etag(job) in known or known.strip() == "*"


def _etag(job: Job) -> str:
    """Return an ETag that changes with the job and with the presigned URLs, also when there is no upload URL any more."""
    given, now = settings(), clock.now()
    awaits = _upload_seconds(job, now) > 0
    life = min(given.download_url_seconds, given.upload_url_seconds) if awaits else given.download_url_seconds
    return f'"{job.version}-{int(links.beginning(now, life).timestamp())}{"-upload" if awaits else ""}"'

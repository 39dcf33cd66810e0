"""A whole job with the Python client. It returns what it saw, for the test to compare."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx

from triptych_client import AuthenticatedClient
from triptych_client.api.jobs import (
    cancel_job,
    create_job,
    delete_job,
    get_job,
    list_jobs,
    repeat_image,
    retry_job,
)
from triptych_client.api.stack import get_limits, get_style_preview, get_usage, list_styles
from triptych_client.models import (
    CreateJob,
    CreateJobMetadata,
    ErrorResponse,
    ErrorView,
    JobCreated,
    JobList,
    JobStatus,
    JobView,
    LimitsView,
    ListJobsMetadata,
    PhotoType,
    Refusal,
    StyleList,
    Upload,
    UsageView,
)
from triptych_client.types import UNSET, File, Response, Unset

SECONDS = 90  # for all images of a job


def whole_job(photo: bytes, api: str, token: str) -> dict[str, object]:
    """Create a job, upload its photo, wait, retry, list, repeat, cancel and delete, with some refusals between."""
    client = AuthenticatedClient(base_url=api, token=token, timeout=httpx.Timeout(30))
    seen: dict[str, object] = {}

    limits = needed(LimitsView, get_limits.sync(client=client))
    styles = needed(StyleList, list_styles.sync(client=client))
    preview = needed(File, get_style_preview.sync(styles.styles[0].id, client=client))
    seen["preview"] = preview.payload.read()[:4].decode()

    order = CreateJob(
        content_type=PhotoType.IMAGEJPEG,
        content_length=len(photo),
        style=styles.styles[0].id,
        metadata=CreateJobMetadata.from_dict({"client": "python"}),
    )
    created = needed(JobCreated, create_job.sync(client=client, body=order, idempotency_key="python-1"))
    again = needed(JobCreated, create_job.sync(client=client, body=order, idempotency_key="python-1"))
    seen["same key, same job"] = again.job_id == created.job_id
    upload = needed(Upload, created.upload)
    httpx.request(
        upload.method, upload.url, headers=upload.headers.to_dict(), content=photo, timeout=30
    ).raise_for_status()

    job = ended(client, created.job_id)
    seen["first end"] = job.status.value
    seen["why"] = [image.error.code.value for image in job.images if isinstance(image.error, ErrorView)]
    needed(JobView, retry_job.sync(job.job_id, client=client))
    job = ended(client, job.job_id)
    seen["end after the retry"] = job.status.value
    seen["second retry"] = refused(retry_job.sync_detailed(job.job_id, client=client))

    pictures = [
        httpx.get(image.url, timeout=30).raise_for_status().content for image in job.images if image.url
    ]
    seen["pictures"] = len(set(pictures))
    seen["sizes"] = [image.size for image in job.images] == [len(picture) for picture in pictures]
    answer = get_job.sync_detailed(job.job_id, client=client)
    unchanged = get_job.sync_detailed(job.job_id, client=client, if_none_match=answer.headers["etag"])
    seen["not changed"] = unchanged.status_code.value

    more = needed(JobCreated, repeat_image.sync(job.job_id, 0, client=client))
    seen["one more"] = [ended(client, more.job_id).status.value, more.upload]
    waiting = needed(JobCreated, create_job.sync(client=client, body=order))
    seen["canceled"] = needed(JobView, cancel_job.sync(waiting.job_id, client=client)).status.value

    jobs = [job.job_id, more.job_id, waiting.job_id]
    seen["pages"] = [jobs.index(one) for one in listed(client, "python")]
    seen["succeeded"] = [jobs.index(one) for one in listed(client, "python", JobStatus.SUCCEEDED)]
    seen["another's"] = listed(client, "another")
    seen["counted"] = needed(UsageView, get_usage.sync(client=client)).pictures_today >= len(pictures)

    order.content_length = limits.max_upload_bytes + 1
    seen["too large"] = refused(create_job.sync_detailed(client=client, body=order))
    stranger = AuthenticatedClient(base_url=api, token="none", timeout=httpx.Timeout(30))
    seen["no token"] = refused(get_usage.sync_detailed(client=stranger))
    seen["deleted"] = [delete_job.sync_detailed(one, client=client).status_code.value for one in jobs]
    seen["gone"] = refused(get_job.sync_detailed(job.job_id, client=client))
    return seen


def needed[T](kind: type[T], answer: object) -> T:
    assert isinstance(answer, kind), answer
    return answer


def refused(answer: Response[Any]) -> list[object]:
    """Return the status of a refusal, and its code, or the gateway's message."""
    match answer.parsed:
        case ErrorResponse(error=error):
            return [answer.status_code.value, error.code.value]
        case Refusal(message=message):
            return [answer.status_code.value, message]
    raise AssertionError(answer)


def ended(client: AuthenticatedClient, job_id: UUID) -> JobView:
    give_up_at = time.monotonic() + SECONDS
    while True:
        answer = get_job.sync_detailed(job_id, client=client)
        assert answer.status_code is HTTPStatus.OK
        job = needed(JobView, answer.parsed)
        if job.ended_at:
            return job
        assert time.monotonic() < give_up_at, job
        time.sleep(0.2)  # there is no event to wait for


def listed(client: AuthenticatedClient, name: str, status: JobStatus | Unset = UNSET) -> list[UUID]:
    """List the jobs of a client of this name, page by page."""
    found: list[UUID] = []
    cursor: str | Unset = UNSET
    metadata = ListJobsMetadata.from_dict({"metadata.client": name})
    while True:
        page = needed(
            JobList,
            list_jobs.sync(client=client, limit=2, cursor=cursor, status=status, metadata=metadata),
        )
        found += [job.job_id for job in page.jobs]
        if not page.cursor:
            return found
        cursor = page.cursor

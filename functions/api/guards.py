"""The checks that a request passes before its route does anything."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated

from aws_lambda_powertools.event_handler import content_types
from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query
from pydantic import AfterValidator

from errors import ApiError
from triptych import job_ids
from triptych.failures import FailureKind
from triptych.flows import record
from triptych.flows.wait_for_change import LONGEST_WAIT
from triptych.job import JobStatus
from triptych.runtime.observability import about_job
from triptych.settings import settings
from views import EXAMPLE_ID, METADATA_NAME

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

    from triptych.job import Job

# Characters. The longest order has 320,000, if each of its characters is escaped. To parse a body of 6 MB that holds
# nothing but mistakes takes 12 s and more memory than the function has.
LONGEST_BODY = 2**19
LONGEST_OWNER = 1024  # bytes; DynamoDB's limit for a key of an index is twice that
JSON = content_types.APPLICATION_JSON
BODIES = {("POST", "/api/v1/jobs")}  # the routes that read a body
LIST, LIST_QUERY = "/api/v1/jobs", {"limit", "cursor", "status"}  # and metadata.NAME
ONE_JOB, ONE_JOB_QUERY = re.compile(r"/api/v1/jobs/[^/]+"), {"wait"}
METADATA = re.compile(rf"metadata\.{METADATA_NAME}")
DESCRIPTION = "/api/v1/openapi.json"

JobId = Annotated[
    str,
    AfterValidator(str.lower),  # RFC 9562: a UUID may also be written in capitals
    Path(description="The job's id.", examples=[EXAMPLE_ID], json_schema_extra={"format": "uuid"}),
]
ImageIndex = Annotated[int, Path(ge=0, description="The image's index.", examples=[0])]
StyleId = Annotated[str, Path(description="The style's id.", examples=["oil"])]
Status = Annotated[JobStatus | None, Query(description="Only jobs in this status.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Largest number of jobs on a page.")]
Cursor = Annotated[
    str | None,
    Query(max_length=1000, description="The cursor of the previous page. Leave it out for the first page."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Repeating a request with the same key returns the same job, until its record expires.",
    ),
]
Wait = Annotated[
    int,
    Query(
        ge=0,
        le=LONGEST_WAIT,
        description=(
            "Seconds to wait for a change of the job. If `If-None-Match` names an older view, or too many clients wait, "
            "the answer comes at once."
        ),
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="The ETag of the last answer. If the job has not changed, the answer is 304.",
    ),
]


def check(call: APIGatewayProxyEventV2) -> None:
    """Check what every route needs: the stack's parameters, an owner, and JSON if the route reads a body.

    Raises:
        MisconfiguredError: A parameter is wrong. The first request reports it, before a photo is uploaded.
        ApiError: The request is refused.
    """
    settings()
    _check_owner(call)
    _check_query(call)
    _check_body(call)


def _check_owner(call: APIGatewayProxyEventV2) -> None:
    if call.request_context.authorizer and not _is_key(owner(call)):
        raise ApiError(FailureKind.NO_OWNER)


def _check_query(call: APIGatewayProxyEventV2) -> None:
    """Refuse parameters that the route does not know: a filter with a typing error must not return everything."""
    if call.path == DESCRIPTION or not call.request_context.authorizer:  # public, so caches may lie before it
        return
    for name in call.query_string_parameters:
        if not _is_known(name, call.http_method, call.path):
            raise ApiError(FailureKind.INVALID_REQUEST, f"{name}: this route has no such query parameter.")


def _is_known(name: str, method: str, path: str) -> bool:
    if method != "GET":
        return False
    if path == LIST:
        return name in LIST_QUERY or METADATA.fullmatch(name) is not None
    return name in ONE_JOB_QUERY and ONE_JOB.fullmatch(path) is not None


def metadata_filter(call: APIGatewayProxyEventV2) -> dict[str, str]:
    """Return the entries that a job's metadata must have: `?metadata.order=A-17`."""
    given = call.query_string_parameters.items()
    return {name.partition(".")[2]: value for name, value in given if METADATA.fullmatch(name)}


def _is_key(text: str) -> bool:
    """Return whether DynamoDB can hold the text as a key."""
    try:
        return 0 < len(text.encode()) <= LONGEST_OWNER
    except UnicodeEncodeError:  # JSON can hold half of a surrogate pair
        return False


def _check_body(call: APIGatewayProxyEventV2) -> None:
    if (call.http_method, call.path) not in BODIES:
        call.raw_event["body"] = None  # powertools would parse it
        return
    kind = call.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        raise ApiError(FailureKind.NOT_JSON)
    if len(call.body or "") > LONGEST_BODY:
        raise ApiError(FailureKind.INVALID_REQUEST, f"body: it must have at most {LONGEST_BODY} characters.")
    try:
        json.loads(call.decoded_body or "")
    except (ValueError, RecursionError):
        raise ApiError(FailureKind.INVALID_REQUEST, "body: this is not valid JSON.") from None
    # powertools compares the type with this exact spelling.
    call.raw_event["headers"] = {**call.headers, "content-type": JSON}


def owner(call: APIGatewayProxyEventV2) -> str:
    """Return the token's `sub`. API Gateway has checked the token."""
    authorizer = call.request_context.authorizer
    claims = authorizer.jwt_claim if authorizer else None
    return str((claims or {}).get("sub") or "")


def own_job(call: APIGatewayProxyEventV2, job_id: str) -> Job:
    """Read a job of the token's owner.

    Raises:
        ApiError: The job does not exist, or it belongs to another user. The answer is the same.
    """
    job = existing(record.read(job_id) if job_ids.is_job_id(job_id) else None)
    if job.owner != owner(call):
        raise ApiError(FailureKind.JOB_NOT_FOUND)
    about_job(job_id)
    return job


def source(call: APIGatewayProxyEventV2, job_id: str | None, earlier: Job | None) -> Job | None:
    """Read the job whose photo an order uses. It may be deleted if this order was made before.

    Raises:
        ApiError: There is no such job of the token's owner.
    """
    if job_id is None:
        return None
    try:
        return own_job(call, job_id)
    except ApiError:
        if earlier and earlier.request.photo_of == job_id:
            return None
        raise


def existing(job: Job | None) -> Job:
    """Return the job.

    Raises:
        ApiError: The job has been deleted.
    """
    if job is None:
        raise ApiError(FailureKind.JOB_NOT_FOUND)
    return job

"""The HTTP API that clients see."""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

import json
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response, content_types
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

from description import answers, describe, methods_at
from triptych import job_ids
from triptych.aws import table
from triptych.flows import create, owner
from triptych.job import MOST_RETRIES
from triptych.photo import formats
from triptych.runtime import clock
from triptych.runtime.observability import about_job, about_request, logger, metrics, unexpected
from triptych.settings import MisconfiguredError, settings
from views import EXAMPLE_ID, CreateJob, Error, ErrorView, JobCreated, JobList, JobView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aws_lambda_powertools.event_handler.exceptions import NotFoundError
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from pydantic import BaseModel

    from triptych.job import Job

LONGEST_OWNER = 1024  # bytes; DynamoDB's limit for a key of an index is twice that
POLL_SECONDS = 2  # what a client that waits is asked to let pass between two looks

JSON = content_types.APPLICATION_JSON

app = APIGatewayHttpResolver(enable_validation=True)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> dict[str, object]:
    about_request(event)
    problem = _wrong_with_the_stack() or _wrong_with(APIGatewayProxyEventV2(event))
    if problem:
        answer = on_problem(problem)
        return {"statusCode": answer.status_code, "headers": answer.headers, "body": answer.body}
    return app.resolve(event, context)


class Problem(Exception):  # noqa: N818  # it is an answer
    """An answer other than the one that was hoped for."""

    def __init__(
        self, status: HTTPStatus, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


JobId = Annotated[str, Path(description="The job's id.", examples=[EXAMPLE_ID])]


@app.post(
    "/api/v1/jobs",
    operation_id="createJob",
    summary="Create a job",
    description="Says where to upload the photo. The pictures are made as soon as it is there.",
    responses=answers(
        {HTTPStatus.CREATED: ("The job, and how to upload its photo.", JobCreated)},
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ),
)
def create_job(
    wanted: CreateJob,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="The same key and order is the same job, however often it is sent.",
        ),
    ] = None,
) -> Response[str]:
    if wanted.content_type not in formats.PHOTO_TYPES:
        known = ", ".join(formats.PHOTO_TYPES)
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "photo_unsupported", f"content_type must be one of {known}."
        )
    largest = settings().max_upload_bytes
    if wanted.content_length > largest:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "photo_too_large",
            f"A photo may have {largest} bytes at most.",
        )
    order = create.JobRequest(
        _owner(), wanted.content_type, wanted.content_length, wanted.checksum_sha256, wanted.prompt
    )
    try:
        with _within_the_day():
            job = create.create_job(order, idempotency_key)
    except create.KeyUsedError:
        raise Problem(
            HTTPStatus.CONFLICT,
            "idempotency_key_used",
            "This Idempotency-Key was used for another order. Use a new one.",
        ) from None
    return _answer(HTTPStatus.CREATED, JobCreated.of(job, clock.now()))


@app.get(
    "/api/v1/jobs",
    operation_id="listJobs",
    summary="List jobs",
    description="Your own, newest first.",
    responses=answers({HTTPStatus.OK: ("A page of jobs.", JobList)}, HTTPStatus.BAD_REQUEST),
)
def list_jobs(
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs in a page.")] = 20,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="From the page before; none for the first page.")
    ] = None,
) -> Response[str]:
    try:
        jobs, following = table.list_jobs(_owner(), limit=limit, cursor=cursor)
    except table.BadCursorError:
        raise Problem(HTTPStatus.BAD_REQUEST, "bad_cursor", "cursor is not one that this API gave.") from None
    return _answer(HTTPStatus.OK, JobList(jobs=[JobView.of(job) for job in jobs], cursor=following))


@app.get(
    "/api/v1/jobs/<job_id>",
    operation_id="getJob",
    summary="Get a job",
    description="While it has not ended, `Retry-After` says when to ask again. Takes `If-None-Match`.",
    responses=answers(
        {HTTPStatus.OK: ("The job.", JobView), HTTPStatus.NOT_MODIFIED: ("It is as it was.", None)},
        HTTPStatus.NOT_FOUND,
        headers={
            "ETag": "For If-None-Match.",
            "Retry-After": "While it has not ended: seconds until a next look.",
        },
    ),
)
def get_job(
    job_id: JobId,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="The ETag of the answer that is known.")
    ] = None,
) -> Response[str]:
    job = _own_job(job_id)
    etag = _etag(job)
    headers = {"ETag": etag}
    if not job.status.is_terminal:
        headers["Retry-After"] = str(POLL_SECONDS)
    known = if_none_match or ""
    if etag in known or known.strip() == "*":
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers, body="")
    return _answer(HTTPStatus.OK, JobView.of(job), headers)


@app.post(
    "/api/v1/jobs/<job_id>/retry",
    operation_id="retryJob",
    summary="Try the failed pictures again",
    description=(
        "With new seeds. Does nothing where none has failed, or where the photo itself was refused. "
        f"A retry counts as one job of the day. A job may be retried {MOST_RETRIES} times."
    ),
    responses=answers(
        {HTTPStatus.OK: ("The job as it is now.", JobView)},
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        meanings={HTTPStatus.CONFLICT: "The job has no retry left."},
    ),
)
def retry_job(job_id: JobId) -> Response[str]:
    try:
        with _within_the_day():
            job = owner.retry(_own_job(job_id))
    except owner.RetriesUsedError:
        raise Problem(
            HTTPStatus.CONFLICT,
            "retry_limit_reached",
            f"This job was retried {MOST_RETRIES} times, which is the most. Create a new job.",
        ) from None
    return _answer(HTTPStatus.OK, JobView.of(_still_there(job)))


@app.post(
    "/api/v1/jobs/<job_id>/cancel",
    operation_id="cancelJob",
    summary="Cancel a job",
    description="What is stored stays. Does nothing where the job has ended.",
    responses=answers({HTTPStatus.OK: ("The job as it is now.", JobView)}, HTTPStatus.NOT_FOUND),
)
def cancel_job(job_id: JobId) -> Response[str]:
    return _answer(HTTPStatus.OK, JobView.of(_still_there(owner.cancel(_own_job(job_id)))))


@app.delete(
    "/api/v1/jobs/<job_id>",
    operation_id="deleteJob",
    summary="Delete a job",
    description="With its photo and its pictures, also those that still arrive.",
    responses=answers({HTTPStatus.NO_CONTENT: ("It is gone.", None)}, HTTPStatus.NOT_FOUND),
)
def delete_job(job_id: JobId) -> Response[str]:
    owner.delete(_own_job(job_id))
    return Response(status_code=HTTPStatus.NO_CONTENT, body="")


@app.get("/api/v1/openapi.json", include_in_schema=False)
def get_description() -> Response[str]:
    return Response(
        status_code=HTTPStatus.OK,
        content_type=content_types.APPLICATION_JSON,
        headers={"Cache-Control": "max-age=300"},
        body=json.dumps(describe(app)),
    )


@app.exception_handler(Problem)  # type: ignore[untyped-decorator]  # powertools leaves it untyped
def on_problem(problem: Problem) -> Response[str]:
    return _answer_problem(problem)


@app.exception_handler(RequestValidationError)  # type: ignore[untyped-decorator]  # as above
def on_invalid(invalid: RequestValidationError) -> Response[str]:
    first = invalid.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    return _answer_problem(Problem(HTTPStatus.BAD_REQUEST, "invalid_request", f"{where}: {first['msg']}."))


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]  # as above
def on_bug(_: Exception) -> Response[str]:
    unexpected("a bug")
    message = "Something went wrong here. Try again later."
    return _answer_problem(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message))


@app.not_found
def on_not_found(_: NotFoundError) -> Response[str]:
    allowed = methods_at(describe(app), app.current_event.path)
    if app.current_event.http_method in allowed.split(
        ", "
    ):  # an id with signs in it that powertools lets through to none
        return _answer_problem(_no_such_job())
    if not allowed:
        return _answer_problem(Problem(HTTPStatus.NOT_FOUND, "route_not_found", "There is no such route."))
    message = f"This route takes {allowed}."
    return _answer_problem(
        Problem(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", message, {"Allow": allowed})
    )


def _wrong_with_the_stack() -> Problem | None:
    """A parameter that would fail some call later is told at the first, and before anybody has uploaded anything."""
    try:
        settings()
    except MisconfiguredError as error:
        logger.error("misconfigured", problem=str(error))
        message = f"The stack's parameters are wrong. {error}."
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "misconfigured", message)
    return None


def _wrong_with(call: APIGatewayProxyEventV2) -> Problem | None:
    """What no route should have to deal with: a token of nobody, a body that is no JSON."""
    authorizer = call.request_context.authorizer
    sub = str((authorizer.jwt_claim or {}).get("sub") or "") if authorizer else "anybody"
    if not 0 < len(sub.encode()) <= LONGEST_OWNER:
        return Problem(HTTPStatus.FORBIDDEN, "no_owner", "The token does not say whose it is, in its sub.")
    if (call.http_method, call.path) != ("POST", "/api/v1/jobs"):
        call.raw_event["body"] = None  # no other route takes one
        return None
    kind = call.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json", f"The body must be {JSON}.")
    try:
        json.loads(call.decoded_body or "")
    except (ValueError, RecursionError):
        return Problem(HTTPStatus.BAD_REQUEST, "invalid_request", "body: it is not JSON that can be read.")
    # powertools compares it to the letter.
    call.raw_event["headers"] = {**call.headers, "content-type": JSON}
    return None


def _answer(status: HTTPStatus, body: BaseModel, headers: dict[str, str] | None = None) -> Response[str]:
    return Response(
        status_code=status,
        content_type=content_types.APPLICATION_JSON,
        headers={"Cache-Control": "no-store", **(headers or {})},
        body=body.model_dump_json(),
    )


def _answer_problem(problem: Problem) -> Response[str]:
    error = ErrorView(code=problem.code, message=problem.message)
    return _answer(problem.status, Error(error=error), problem.headers)


@contextmanager
def _within_the_day() -> Iterator[None]:
    """Answer 429 where the owner's day is full, or cannot be counted."""
    try:
        yield
    except table.DayFullError:
        limit = settings().daily_job_limit
        message = f"An owner may create or retry {limit} jobs in a day. Try again tomorrow."
        wait = str(create.seconds_to_the_next_day(clock.now()))
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS, "daily_limit_reached", message, {"Retry-After": wait}
        ) from None
    except table.ContendedError:
        message = "Too many jobs are being created or retried at once. Try again in a moment."
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS, "too_many_at_once", message, {"Retry-After": "1"}
        ) from None


def _owner() -> str:
    """The token's `sub`; API Gateway has checked the token."""
    claims = app.current_event.request_context.authorizer.jwt_claim
    return str(claims["sub"])


def _own_job(job_id: str) -> Job:
    """The caller's job. One that does not exist and one of somebody else look the same."""
    job = table.get(job_id) if job_ids.is_job_id(job_id) else None
    if job is None or job.owner != _owner():
        raise _no_such_job()
    about_job(job_id)
    return job


def _no_such_job() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "job_not_found", "There is no such job.")


def _still_there(job: Job | None) -> Job:
    if job is None:
        raise _no_such_job()
    return job


def _etag(job: Job) -> str:
    """Changes with the job, and before the links in the last answer run out."""
    span = max(1, settings().download_url_seconds // 2)
    return f'"{job.version}-{int(clock.now().timestamp()) // span}"'


init.done()

"""The routes of the HTTP API."""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response, content_types
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

import errors
import guards
import orders
import pictures
import replies
from description import JOBS, LIST_JOBS, STACK, answers, describe
from guards import Cursor, IdempotencyKey, IfNoneMatch, ImageIndex, JobId, Limit, Status, StyleId, Wait
from triptych import callbacks
from triptych.aws import callback_key, styles
from triptych.failures import FailureKind
from triptych.flows import create_job, owner, record, usage
from triptych.flows.wait_for_change import wait_for_change
from triptych.job import MOST_RETRIES
from triptych.runtime.answers import secured
from triptych.runtime.observability import about_request, logger, metrics
from triptych.settings import MisconfiguredError, settings
from views import CreateJob, JobCreated, JobList, JobView, LimitsView, StyleList, UsageView, WebhookSecret

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from triptych.job import Job

LIMITS = (  # of routes that may spend
    FailureKind.DAILY_LIMIT_REACHED,
    FailureKind.STACK_LIMIT_REACHED,
    FailureKind.TOO_MANY_ACTIVE_JOBS,
    FailureKind.TOO_MANY_AT_ONCE,
)

app = APIGatewayHttpResolver(enable_validation=True)
errors.install(app)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> dict[str, object]:
    about_request(event)
    try:
        guards.check(APIGatewayProxyEventV2(event))
    except (errors.ApiError, MisconfiguredError) as error:
        answer = errors.answer(error)
        return secured({"statusCode": answer.status_code, "headers": answer.headers, "body": answer.body})
    return secured(app.resolve(event, context))


@app.post(
    "/api/v1/jobs",
    operation_id="createJob",
    summary="Create a job",
    description=(
        "Returns the URL to upload the photo to. The images are generated when the photo arrives. With `photo_of`, that "
        "is at once."
    ),
    tags=[JOBS],
    responses=answers(
        {HTTPStatus.CREATED: ("The job, and how to upload its photo.", JobCreated)},
        FailureKind.IDEMPOTENCY_KEY_USED,
        FailureKind.JOB_NOT_FOUND,
        FailureKind.PHOTO_GONE,
        FailureKind.PHOTO_TOO_LARGE,
        FailureKind.PHOTO_UNSUPPORTED,
        FailureKind.NOT_JSON,
        *LIMITS,
        headers={"Location": "The path of the job."},
    ),
)
def post_job(body: CreateJob, idempotency_key: IdempotencyKey = None) -> Response[str]:
    call = app.current_event
    owner = guards.owner(call)
    earlier = create_job.earlier_job(owner, idempotency_key)
    source = guards.source(call, body.photo_of, earlier)
    request = orders.request_of(body, source, earlier)
    made = create_job.create_job(owner, request, idempotency_key, source=source, earlier=earlier)
    return replies.created(made)


@app.get(
    "/api/v1/jobs",
    operation_id=LIST_JOBS,
    summary="List jobs",
    description=(
        "Returns your own jobs, newest first. In a list, `url` and `download_url` are null, and `preview_url` is not. A new "
        "job may be absent, and a deleted one present, for a second or so. `metadata.NAME=VALUE` returns only jobs with "
        "this entry. A page may have fewer jobs than `limit`, and a filtered one may be empty: only the last page has no cursor."
    ),
    tags=[JOBS],
    responses=answers(
        {HTTPStatus.OK: ("A page of jobs.", JobList)}, FailureKind.BAD_CURSOR, FailureKind.TOO_MANY_AT_ONCE
    ),
)
def list_jobs(limit: Limit = 20, cursor: Cursor = None, status: Status = None) -> Response[str]:
    metadata = guards.metadata_filter(app.current_event)

    def wanted(job: Job) -> bool:
        return status in {None, job.status} and metadata.items() <= job.request.metadata.items()

    jobs, following = record.page(
        guards.owner(app.current_event),
        limit=limit,
        cursor=cursor,
        wanted=wanted if status or metadata else None,
    )
    return replies.listed(jobs, following)


@app.get(
    "/api/v1/jobs/<job_id>",
    operation_id="getJob",
    summary="Get a job",
    tags=[JOBS],
    description=(
        "Until the job has ended, `Retry-After` has the seconds to wait before the next request. Accepts `If-None-Match`. "
        "With `wait`, the answer comes as soon as the job changes, or when the seconds are over."
    ),
    responses=answers(
        {HTTPStatus.OK: ("The job.", JobView), HTTPStatus.NOT_MODIFIED: ("The job has not changed.", None)},
        FailureKind.JOB_NOT_FOUND,
        headers={
            "ETag": "Send it in If-None-Match.",
            "Retry-After": "Seconds until the next request. Absent when the job has ended.",
        },
    ),
)
def get_job(job_id: JobId, if_none_match: IfNoneMatch = None, wait: Wait = 0) -> Response[str]:
    job = guards.own_job(app.current_event, job_id)
    if wait and (if_none_match is None or replies.is_known(job, if_none_match)):
        job = guards.existing(wait_for_change(job, wait))
    return replies.polled(job, if_none_match)


@app.post(
    "/api/v1/jobs/<job_id>/retry",
    operation_id="retryJob",
    summary="Retry the failed images",
    tags=[JOBS],
    description=(
        "Makes a new attempt for each failed image, with a new seed, unless Replicate still holds its output. While images "
        "are generated, this changes nothing. Each retried image counts toward the daily limits. "
        f"A job can be retried {MOST_RETRIES} times. This route takes no `Idempotency-Key`: before you repeat a request "
        "without an answer, get the job. If its `started_at` has changed, the retry was done."
    ),
    responses=answers(
        {HTTPStatus.OK: ("The job after the retry.", JobView)},
        FailureKind.JOB_NOT_FOUND,
        FailureKind.NOTHING_TO_RETRY,
        FailureKind.RETRY_LIMIT_REACHED,
        *LIMITS,
    ),
)
def retry_job(job_id: JobId) -> Response[str]:
    job = owner.retry(guards.own_job(app.current_event, job_id))
    return replies.changed(guards.existing(job))


@app.post(
    "/api/v1/jobs/<job_id>/images/<index>/again",
    operation_id="repeatImage",
    summary="Make one more image like this",
    description=(
        "Creates a new job with one image: the same photo, style, prompt, model, metadata and callback URL, and another "
        "seed. It counts toward the limits like any order."
    ),
    tags=[JOBS],
    responses=answers(
        {HTTPStatus.CREATED: ("The new job.", JobCreated)},
        FailureKind.IDEMPOTENCY_KEY_USED,
        FailureKind.JOB_NOT_FOUND,
        FailureKind.PHOTO_GONE,
        *LIMITS,
        headers={"Location": "The path of the new job."},
    ),
)
def repeat_image(job_id: JobId, index: ImageIndex, idempotency_key: IdempotencyKey = None) -> Response[str]:
    call = app.current_event
    owner = guards.owner(call)
    earlier = create_job.earlier_job(owner, idempotency_key)
    source = guards.source(call, job_id, earlier)
    request = orders.request_for_another(source, index, earlier)
    made = create_job.create_job(owner, request, idempotency_key, source=source, earlier=earlier)
    return replies.created(made)


@app.post(
    "/api/v1/jobs/<job_id>/cancel",
    operation_id="cancelJob",
    summary="Cancel a job",
    tags=[JOBS],
    description="Keeps the images that are stored. Does nothing if the job has ended.",
    responses=answers(
        {HTTPStatus.OK: ("The job after the cancellation.", JobView)}, FailureKind.JOB_NOT_FOUND
    ),
)
def cancel_job(job_id: JobId) -> Response[str]:
    job = owner.cancel(guards.own_job(app.current_event, job_id))
    return replies.changed(guards.existing(job))


@app.delete(
    "/api/v1/jobs/<job_id>",
    operation_id="deleteJob",
    summary="Delete a job",
    tags=[JOBS],
    description=(
        "When this returns, the job, its photo and its images are gone. Within a minute its predictions are canceled, and "
        "outputs that arrive later are removed. Replicate deletes its copies within an hour. Backups and messages that "
        "the operator keeps end later: the operator's document on personal data says when."
    ),
    responses=answers({HTTPStatus.NO_CONTENT: ("The job is deleted.", None)}, FailureKind.JOB_NOT_FOUND),
)
def delete_job(job_id: JobId) -> Response[str]:
    owner.delete(guards.own_job(app.current_event, job_id))
    return Response(status_code=HTTPStatus.NO_CONTENT, body="")


@app.get(
    "/api/v1/usage",
    operation_id="getUsage",
    summary="Get what you have used",
    tags=[STACK],
    description=(
        "Counts the pictures that you have ordered. Those that were not generated are given back when their job ends."
    ),
    responses=answers({HTTPStatus.OK: ("Your usage and your limits.", UsageView)}),
)
def get_usage() -> Response[str]:
    used = usage.read(guards.owner(app.current_event))
    return replies.respond(HTTPStatus.OK, UsageView.of(used))


@app.get(
    "/api/v1/limits",
    operation_id="getLimits",
    summary="Get what an order may ask for",
    tags=[STACK],
    responses=answers({HTTPStatus.OK: ("The limits of this stack.", LimitsView)}),
)
def get_limits() -> Response[str]:
    return replies.respond(HTTPStatus.OK, LimitsView.of_this_stack())


@app.get(
    "/api/v1/webhook-secret",
    operation_id="getWebhookSecret",
    summary="Get the secret of your callbacks",
    description="Each owner has another one. It changes only if the operator changes the stack's key.",
    tags=[STACK],
    responses=answers({HTTPStatus.OK: ("Your secret.", WebhookSecret)}, FailureKind.ROUTE_NOT_FOUND),
)
def get_webhook_secret() -> Response[str]:
    if not settings().allowed_callback_hosts:
        raise errors.ApiError(FailureKind.ROUTE_NOT_FOUND, "This stack calls nobody back.")
    secret = callbacks.secret_of(guards.owner(app.current_event), callback_key.read())
    return replies.respond(HTTPStatus.OK, WebhookSecret(secret=secret))


@app.get(
    "/api/v1/styles",
    operation_id="listStyles",
    summary="List the styles",
    description="An order names a style by its id. The style's prompt comes before the order's own.",
    tags=[STACK],
    responses=answers({HTTPStatus.OK: ("All styles.", StyleList)}),
)
def list_styles() -> Response[str]:
    return replies.respond(
        HTTPStatus.OK, StyleList(styles=[pictures.view_of(one) for one in styles.catalogue()])
    )


# Public: an <img> sends no token.
@app.get(
    "/api/v1/styles/<style_id>/preview",
    operation_id="getStylePreview",
    summary="Get the picture of a built-in style",
    tags=[STACK],
    security=[{}],
    responses={
        int(HTTPStatus.OK): {
            "description": "A WebP.",
            "content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}},
        },
        **answers({}, FailureKind.ROUTE_NOT_FOUND),
    },
)
def get_style_preview(style_id: StyleId) -> Response[str]:
    return pictures.preview_of(style_id)


@app.get("/api/v1/openapi.json", include_in_schema=False)
def get_description() -> Response[str]:
    return Response(
        status_code=HTTPStatus.OK,
        content_type=content_types.APPLICATION_JSON,
        headers={"Cache-Control": "max-age=300"},
        body=json.dumps(describe(app)),
    )


init.done()

"""The answer to each exception: one shape. Its code and HTTP status come from the table in `triptych.failures`."""

from __future__ import annotations

from functools import singledispatch
from http import HTTPStatus
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from description import describe, methods_at
from replies import respond
from triptych import spending
from triptych.aws import table
from triptych.deadlines import seconds_to_the_next_day
from triptych.failures import FailureKind
from triptych.flows import create_job, owner
from triptych.job import MOST_RETRIES
from triptych.runtime import clock
from triptych.runtime.observability import logger, unexpected
from triptych.settings import MisconfiguredError, settings
from views import ErrorResponse, RequestErrorView

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
    from aws_lambda_powertools.event_handler.exceptions import NotFoundError


ACTIVE_SECONDS = 10  # a job may end at any time


class ApiError(Exception):
    """The failure that answers a request."""

    def __init__(
        self, kind: FailureKind, what: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        """Take a failure from the table.

        Args:
            kind: The failure.
            what: What happened: a sentence that replaces the table's.
            headers: Headers of the answer.
        """
        super().__init__(kind.code)
        self.status = HTTPStatus(kind.status or HTTPStatus.INTERNAL_SERVER_ERROR)
        self.code = kind.code
        self.message = f"{what or kind.what} {kind.advice}"
        self.headers = headers


def install(app: APIGatewayHttpResolver) -> None:
    """Install handlers in `app` that answer all exceptions, and all requests without a route."""

    @app.exception_handler(Exception)  # type: ignore[untyped-decorator]  # powertools leaves it untyped
    def on_error(error: Exception) -> Response[str]:
        return answer(error)

    @app.not_found
    def on_not_found(_: NotFoundError) -> Response[str]:
        return answer(_unrouted(app))


def answer(error: Exception) -> Response[str]:
    api_error = of(error)
    view = ErrorResponse(error=RequestErrorView(code=api_error.code, message=api_error.message))
    return respond(api_error.status, view, api_error.headers)


@singledispatch
def of(_: Exception) -> ApiError:
    """Return the error to answer for an exception."""
    unexpected("unexpected error")
    return ApiError(FailureKind.INTERNAL_ERROR)


@of.register
def _(error: ApiError) -> ApiError:
    return error


@of.register
def _(_: owner.TooOldError) -> ApiError:
    return ApiError(FailureKind.RETRY_LIMIT_REACHED, "The job expires too soon for a retry.")


@of.register
def _(error: MisconfiguredError) -> ApiError:
    logger.error("misconfigured", problem=str(error))
    return ApiError(FailureKind.MISCONFIGURED, f"A parameter of the stack is wrong: {error}.")


@of.register
def _(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    return ApiError(FailureKind.INVALID_REQUEST, f"{where}: {first['msg']}.")


@of.register
def _(_error: table.BadCursorError) -> ApiError:
    return ApiError(FailureKind.BAD_CURSOR)


@of.register
def _(_error: create_job.KeyUsedError) -> ApiError:
    return ApiError(FailureKind.IDEMPOTENCY_KEY_USED)


@of.register
def _(_error: create_job.PhotoGoneError) -> ApiError:
    return ApiError(FailureKind.PHOTO_GONE)


@of.register
def _(_error: owner.NothingToRetryError) -> ApiError:
    return ApiError(FailureKind.NOTHING_TO_RETRY)


@of.register
def _(_error: owner.RetriesUsedError) -> ApiError:
    return ApiError(
        FailureKind.RETRY_LIMIT_REACHED, f"This job was retried {MOST_RETRIES} times, which is the maximum."
    )


@of.register
def _(_error: owner.AttemptsUsedError) -> ApiError:
    return ApiError(FailureKind.RETRY_LIMIT_REACHED, "The failed images have no attempts left.")


@of.register
def _(_error: spending.OversizedError) -> ApiError:
    most = create_job.limits().pictures_of_order
    return ApiError(
        FailureKind.INVALID_REQUEST, f"The daily limits allow at most {most} images in one request."
    )


@of.register
def _(_error: spending.OwnersDayFullError) -> ApiError:
    limit = settings().daily_pictures_per_owner
    return _tomorrow(
        FailureKind.DAILY_LIMIT_REACHED, f"With this, you would order more than {limit} pictures today."
    )


@of.register
def _(_error: spending.OrderedTooOftenError) -> ApiError:
    limit = create_job.limits().ordered_by_owner
    return _tomorrow(
        FailureKind.DAILY_LIMIT_REACHED,
        f"With this, you would order more than {limit} pictures today, counting those that were given back.",
    )


@of.register
def _(_error: spending.StacksDayFullError) -> ApiError:
    return _tomorrow(FailureKind.STACK_LIMIT_REACHED)


@of.register
def _(_error: spending.TooManyActiveError) -> ApiError:
    return ApiError(
        FailureKind.TOO_MANY_ACTIVE_JOBS,
        f"You have {settings().max_active_jobs_per_owner} unfinished jobs, which is the maximum.",
        {"Retry-After": str(ACTIVE_SECONDS)},
    )


@of.register
def _(_error: table.ContendedError) -> ApiError:
    return ApiError(FailureKind.TOO_MANY_AT_ONCE, headers={"Retry-After": "1"})


def _tomorrow(kind: FailureKind, what: str | None = None) -> ApiError:
    return ApiError(kind, what, {"Retry-After": str(seconds_to_the_next_day(clock.now()))})


def _unrouted(app: APIGatewayHttpResolver) -> ApiError:
    event = app.current_event
    allowed = methods_at(describe(app), event.path)
    if event.http_method in allowed.split(", "):
        # powertools finds no route if the id contains special characters.
        return ApiError(FailureKind.JOB_NOT_FOUND)
    if not allowed:
        return ApiError(FailureKind.ROUTE_NOT_FOUND)
    return ApiError(FailureKind.METHOD_NOT_ALLOWED, headers={"Allow": allowed})

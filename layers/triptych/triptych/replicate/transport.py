"""Requests to Replicate: the API token, and one request with its answer.

The `replicate` client (1.0.7) builds the requests. The transport that it is given (`Exchange`) closes its gaps. The
client has no timeout for a create request. It retries GETs ten times and sleeps as long as `Retry-After` asks. It drops the
headers and fields of an error. It cannot send `Cancel-After`. It cannot parse some predictions that exist and are
billed. So the transport keeps the body as it was received, and this module reads that.
"""

from __future__ import annotations

import math
from contextlib import suppress
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import TYPE_CHECKING

import httpx
from botocore.exceptions import ClientError
from pydantic import BaseModel, ValidationError

from triptych.aws import parameters
from triptych.lazy import Lazy
from triptych.pace import Left
from triptych.runtime import clock, tls
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import logger
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate.client import Client

READ_SECONDS = 6.0  # for one request that changes nothing
GRACE_SECONDS = 0.5
MAX_BODY_BYTES = 16 * 1024 * 1024
TOKEN_SECONDS = 300


def prepare() -> None:
    """Import the modules that a request needs, in functions that always send one. During init, Lambda gives more CPU.

    Other functions import them for their first request. They take a third as long as all other imports together.
    """
    for name in ("aws_lambda_powertools.utilities.parameters", "httpcore", "replicate.client"):
        import_module(name)


class ReplicateUnavailableError(Exception):
    """Replicate gave no usable answer. It may give one later."""


class NoTokenError(ReplicateUnavailableError):
    """The parameter with the token does not exist, or what it holds is no token. Waiting does not help."""


class TokenUnreadableError(ReplicateUnavailableError):
    """The token exists, but this function may not read or decrypt it. Waiting does not help."""


class _ErrorBody(Lazy):
    """The part of an error's body that matters here."""

    retry_after: float | None = None


def read[T: BaseModel](kind: type[T], request: Callable[[Client], object]) -> T:
    """Send a request that changes nothing; return its answer as a `kind`.

    Raises:
        ReplicateUnavailableError: No usable answer.
    """
    budget = TimeBudget(READ_SECONDS)
    exchange = Exchange(budget)
    replicate = client(token(), exchange)

    def task() -> str:
        send(lambda: request(replicate))
        return "sent"

    try:
        if budget.run([task], grace=GRACE_SECONDS) == [None]:
            raise ReplicateUnavailableError("too slow")
        return kind.model_validate_json(exchange.body)
    except HttpError as error:
        if error.status == httpx.codes.UNAUTHORIZED:
            token(fresh=True)  # it may have been rotated
        raise
    except (httpx.HTTPError, TooLateToSendError, ValidationError) as error:
        raise ReplicateUnavailableError(type(error).__name__) from None


class HttpError(ReplicateUnavailableError):
    """Replicate answered with another status than 2xx. This holds what the client's `ReplicateError` drops.

    `retry_after` is the number of seconds to wait, from the body, from Retry-After or from a near ratelimit-reset. It is
    None if none holds a positive number. Replicate documents none.
    """

    def __init__(self, status: int, headers: httpx.Headers, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        left = _left(headers)
        hints = (
            _retry_after_in_body(body),
            _retry_after_in_header(headers.get("retry-after", "")),
            left.near_reset if left else None,
        )
        self.retry_after = next((hint for hint in hints if hint and 0 < hint < math.inf), None)


def _retry_after_in_body(body: bytes) -> float | None:
    try:
        return _ErrorBody.model_validate_json(body).retry_after
    except ValidationError:
        return None


def _retry_after_in_header(value: str) -> float | None:
    """Return the seconds in a Retry-After header, which holds a number or a date; None if it holds neither."""
    with suppress(ValueError):
        return float(value)
    with suppress(ValueError, TypeError):  # TypeError: a date without a time zone
        return (parsedate_to_datetime(value) - clock.now()).total_seconds()
    return None


def _left(headers: httpx.Headers) -> Left | None:
    """Return what the headers say about the rate limit, None if they do not. The unit of the reset is not documented."""
    try:
        return Left(
            int(headers["ratelimit-remaining"]), _finite(float(headers.get("ratelimit-reset", "nan")))
        )
    except (KeyError, ValueError):
        return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class TooLateToSendError(Exception):
    """The budget was spent before the request was sent. Replicate has not seen it."""


class Exchange(httpx.BaseTransport):
    """One request to Replicate and its answer, limited in time and size.

    `body` holds the answer's bytes, and `left` what its headers say about the rate limit.

    An answer other than 2xx is raised from here, so that the client does not retry.
    """

    def __init__(self, budget: TimeBudget, headers: dict[str, str] | None = None) -> None:
        self.body = b""
        self.left: Left | None = None
        self._budget = budget
        self._headers = headers or {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers.update(self._headers)
        left = max(0.1, self._budget.seconds_left)
        timeout = httpx.Timeout(left, connect=min(3.0, left)).as_dict()
        request.extensions = {**request.extensions, "timeout": timeout, "trace": self._trace}
        answer = http_transport().handle_request(request)
        self.left = _left(answer.headers)
        try:
            for chunk in answer.iter_bytes():
                self.body += chunk
                if len(self.body) > MAX_BODY_BYTES or self._budget.is_spent:
                    raise httpx.ReadTimeout("the answer does not end")
        finally:
            answer.close()
        if not answer.is_success:
            raise HttpError(answer.status_code, answer.headers, self.body)
        return httpx.Response(answer.status_code, content=self.body)

    def _trace(self, event: str, _info: object) -> None:
        # A name look-up can hang, and Lambda can freeze the function, before the request is sent. By the time it could
        # go on, the request has been recorded as not sent, so it must not be sent any more.
        if event.endswith("send_request_headers.started") and self._budget.is_spent:
            raise TooLateToSendError


def send(request: Callable[[], object]) -> None:
    """Send a request through the client; ignore the client's trouble with the answer."""
    try:
        request()
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        # Also pydantic.v1.ValidationError and JSONDecodeError. There is an answer, and the `Exchange` holds it.
        logger.info("the replicate client cannot read the answer", reason=type(error).__name__)


def client(api_token: str, exchange: Exchange) -> Client:
    """Return a client of Replicate for one request."""
    from replicate.client import Client  # noqa: PLC0415  # see `prepare`

    return Client(api_token=api_token, base_url=settings().replicate_base_url, transport=exchange)


@once
def http_transport() -> httpx.HTTPTransport:
    # No connection is kept: one that Replicate has closed meanwhile looks like a lost answer.
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.HTTPTransport(limits=limits, verify=tls.context())


# See https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html. A KMS key that the function
# may not use also gives AccessDeniedException; one that is disabled or deleted gives InvalidKeyId.
_TOKEN_ERRORS: dict[str, type[ReplicateUnavailableError]] = {
    "ParameterNotFound": NoTokenError,
    "AccessDeniedException": TokenUnreadableError,
    "InvalidKeyId": TokenUnreadableError,
}


def token(*, fresh: bool = False) -> str:
    """Return the API token, which is kept for TOKEN_SECONDS.

    Args:
        fresh: Read it again now.

    Raises:
        NoTokenError: The parameter does not exist.
        TokenUnreadableError: The function's role may not read or decrypt it.
        ReplicateUnavailableError: AWS did not answer.
    """
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError  # noqa: PLC0415  # as above

    name = settings().replicate_token_parameter
    try:
        found = str(parameters.provider().get(name, decrypt=True, max_age=TOKEN_SECONDS, force_fetch=fresh))
    except GetParameterError as error:
        cause = error.__context__  # powertools sets no cause
        reason = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else type(cause).__name__
        logger.error("no Replicate token", parameter=name, reason=reason)
        raise _TOKEN_ERRORS.get(reason, ReplicateUnavailableError)("no token") from None
    found = found.strip()
    if not (found.isascii() and found.isprintable()):
        # No header can hold it. A request with it would never be sent, but would look as if its answer was lost.
        if not fresh:
            return token(fresh=True)  # it may have been corrected
        logger.error("the Replicate token holds characters that no token has", parameter=name)
        raise NoTokenError("no token")
    return found

"""The way to Replicate: its token, and one request there and back.

The `replicate` client (1.0.7) builds the requests. Its gaps are closed in one place, the transport that it is
given (`Wire`): it has no timeout on a create; retries GETs ten times and sleeps for as long as a `Retry-After`
says; drops the headers and fields of an error; cannot send `Cancel-After`; and cannot parse some predictions
that have been made and billed. So the transport keeps what came over the wire, and that is what counts.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import TYPE_CHECKING

import httpx
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import BaseModel, ValidationError

from triptych.aws import session
from triptych.runtime import clock, tls
from triptych.runtime.budget import within
from triptych.runtime.observability import logger
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_lambda_powertools.utilities.parameters import SSMProvider
    from replicate.client import Client

READ_SECONDS = 6.0
MAX_BODY_BYTES = 16 * 1024 * 1024
TOKEN_SECONDS = 300


def prepare() -> None:
    """Import what a request takes: with init, when Lambda gives more CPU, where one is sure to come.

    Elsewhere that is left until there is one: it takes a third as long as all else that a function imports.
    """
    for name in ("aws_lambda_powertools.utilities.parameters", "httpcore", "replicate.client"):
        import_module(name)


class ReplicateUnavailable(Exception):  # noqa: N818  # it is theirs, not ours
    """Replicate did not answer, or not with what was asked for. Later it may."""


class NoToken(ReplicateUnavailable):
    """Nobody has put the token where it is looked for: waiting does not help."""


class TokenUnreadable(ReplicateUnavailable):
    """The token is there, and this function may not read or decrypt it: waiting does not help."""


class _Problem(BaseModel):
    """What an error's body may hold."""

    retry_after: float | None = None


def read[T: BaseModel](kind: type[T], request: Callable[[Client], object]) -> T:
    """What Replicate answers to a request that changes nothing.

    Raises:
        ReplicateUnavailable: no usable answer.
    """
    wire = Wire(time.monotonic() + READ_SECONDS)
    speaking = client(token(), wire)

    def send() -> bool:
        ask(lambda: request(speaking))
        return True

    try:
        if within(READ_SECONDS + 0.5, [send]) == [None]:
            raise ReplicateUnavailable("too slow")
        return kind.model_validate_json(wire.body)
    except HttpError as error:
        if error.status == httpx.codes.UNAUTHORIZED:
            token(fresh=True)  # it may have been rotated
        raise
    except (httpx.HTTPError, TooLateToSend, ValidationError) as error:
        raise ReplicateUnavailable(type(error).__name__) from None


class HttpError(ReplicateUnavailable):
    """Replicate answered, but not with 2xx. It carries what `ReplicateError` drops.

    `retry_after` is how many seconds to wait, by the body or else by Retry-After; None where neither gives a positive
    number. Replicate documents neither. `ratelimit-reset` is ignored: nothing says what it counts.
    """

    def __init__(self, status: int, headers: httpx.Headers, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        hints = (_told_by_body(body), _told_by_header(headers.get("retry-after", "")))
        self.retry_after = next((hint for hint in hints if hint and 0 < hint < math.inf), None)


def _told_by_body(body: bytes) -> float | None:
    try:
        return _Problem.model_validate_json(body).retry_after
    except ValidationError:
        return None


def _told_by_header(value: str) -> float | None:
    """Return the seconds that a Retry-After header gives as a number or as a date; None where it gives neither."""
    with suppress(ValueError):
        return float(value)
    with suppress(ValueError, TypeError):  # TypeError: a date without a time zone
        return (parsedate_to_datetime(value) - clock.now()).total_seconds()
    return None


class TooLateToSend(Exception):  # noqa: N818  # caught within this module
    """The time for this request ran out before it left."""


class Wire(httpx.BaseTransport):
    """One request's way to Replicate: bounded in time and size, and what came back is kept.

    An answer that is not 2xx is raised from here, past the client's retries.
    """

    def __init__(self, give_up_at: float, headers: dict[str, str] | None = None) -> None:
        self.body = b""
        self._give_up_at = give_up_at
        self._headers = headers or {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers.update(self._headers)
        left = max(0.1, self._give_up_at - time.monotonic())
        timeout = httpx.Timeout(left, connect=min(3.0, left)).as_dict()
        request.extensions = {**request.extensions, "timeout": timeout, "trace": self._trace}
        answer = _transport().handle_request(request)
        try:
            for chunk in answer.iter_bytes():
                self.body += chunk
                if len(self.body) > MAX_BODY_BYTES or time.monotonic() > self._give_up_at:
                    raise httpx.ReadTimeout("the answer does not end", request=request)
        finally:
            answer.close()
        if not answer.is_success:
            raise HttpError(answer.status_code, answer.headers, self.body)
        return httpx.Response(answer.status_code, content=self.body, request=request)

    def _trace(self, event: str, _info: object) -> None:
        # A thread that was stuck before its request left, in a name look-up say, or in a function that Lambda
        # froze, must not send it when everybody has come to believe that it never will.
        if event.endswith("send_request_headers.started") and time.monotonic() > self._give_up_at:
            raise TooLateToSend


def ask(request: Callable[[], object]) -> None:
    """Send a request through the client, whatever the client then makes of the answer."""
    try:
        request()
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        # pydantic.v1.ValidationError and JSONDecodeError among them: it was answered, and `Wire` has the answer.
        logger.info("the client cannot read an answer", reason=type(error).__name__)


def client(api_token: str, wire: Wire) -> Client:
    from replicate.client import Client  # noqa: PLC0415  # see `prepare`

    return Client(api_token=api_token, base_url=settings().replicate_base_url, transport=wire)


@once
def _transport() -> httpx.HTTPTransport:
    # No connection is kept: one that the other side has closed meanwhile looks like a lost answer.
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.HTTPTransport(limits=limits, verify=tls.context(), trust_env=False)


# By https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html; a key that the function may
# not use is an AccessDeniedException too, one that is disabled or gone an InvalidKeyId.
_TOKEN_ERRORS: dict[str, type[ReplicateUnavailable]] = {
    "ParameterNotFound": NoToken,
    "AccessDeniedException": TokenUnreadable,
    "InvalidKeyId": TokenUnreadable,
}


def token(*, fresh: bool = False) -> str:
    """The API token, kept for TOKEN_SECONDS.

    Raises:
        NoToken: there is none.
        TokenUnreadable: the function's role does not permit to read it, or to decrypt it.
        ReplicateUnavailable: AWS did not answer.
    """
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError  # noqa: PLC0415  # as above

    name = settings().replicate_token_parameter
    try:
        found = str(_ssm().get(name, decrypt=True, max_age=TOKEN_SECONDS, force_fetch=fresh))
    except GetParameterError as error:
        cause = error.__context__  # powertools raises it without a cause
        reason = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else type(cause).__name__
        logger.error("no Replicate token", parameter=name, reason=reason)
        raise _TOKEN_ERRORS.get(reason, ReplicateUnavailable)("no token") from None
    return found.strip()


@once
def _ssm() -> SSMProvider:
    from aws_lambda_powertools.utilities.parameters import SSMProvider  # noqa: PLC0415  # as above

    config = Config(connect_timeout=2, read_timeout=4, retries={"mode": "standard", "max_attempts": 3})
    return SSMProvider(boto_config=config, boto3_session=session.boto3_session())

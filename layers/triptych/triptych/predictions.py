"""Replicate: asking for predictions, finding them again, and what they have come to.

The `replicate` client (1.0.7) builds the requests. Its gaps are closed in one place, the transport that it is
given (`_Wire`): it has no timeout on a create; retries GETs ten times and sleeps for as long as a `Retry-After`
says; drops the headers and fields of an error; cannot send `Cancel-After`; and cannot parse some predictions
that have been made and billed. So the transport keeps what came over the wire, and that is what counts.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from aws_lambda_powertools.utilities.parameters import SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.config import Config
from pydantic import BaseModel, BeforeValidator, JsonValue, ValidationError

from triptych import aws, clock
from triptych.bounded import within
from triptych.job import Failure
from triptych.observability import logger
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate.client import Client

CREATE_SECONDS = 12.0  # a create answers in one or two; all of it, from the connection to the last byte
READ_SECONDS = 6.0
LIST_SECONDS = 9.0  # all pages together
MAX_BODY_BYTES = 16 * 1024 * 1024
TOKEN_SECONDS = 300
SECRET_SECONDS = 600  # after a rotation, the old one is good for no longer
SECRET_REFETCH_SECONDS = 60
MIN_CANCEL_AFTER = 5  # seconds; less is refused


_NEVER = datetime.min.replace(tzinfo=UTC)
_NUMBER = re.compile(r"[0-9]{1,6}")

# ── which picture a prediction is for ──


class Tag(NamedTuple):
    """Names one POST: a job, one of its images, and the how manyeth attempt at it.

    It travels in the webhook URL's query and in the photo's URL (as the download's file name), so that what
    Replicate signs and what it lists tells which picture it is for, whether or not the model takes a seed.
    """

    job_id: str
    image: int
    attempt: int

    @property
    def file_name(self) -> str:
        return f"{self.job_id}.{self.image}.{self.attempt}"

    def on(self, webhook_url: str) -> str:
        """The webhook's URL for this prediction."""
        query = {"job_id": self.job_id, "image": self.image, "attempt": self.attempt}
        return f"{webhook_url}?{urlencode(query)}"

    @classmethod
    def of_query(cls, query: str) -> Self | None:
        """The tag in a webhook URL's query, or None."""
        try:
            values = parse_qs(query, max_num_fields=16)
            (job_id,), (image,), (attempt,) = values["job_id"], values["image"], values["attempt"]
        except (KeyError, ValueError):
            return None
        return cls._read(job_id, image, attempt)

    @classmethod
    def of_photo_url(cls, url: str) -> Self | None:
        """The tag in a photo's presigned URL, or None."""
        try:
            values = parse_qs(urlsplit(url).query, max_num_fields=32)
        except ValueError:
            return None
        name = values.get("response-content-disposition", [""])[0].partition('filename="')[2].rstrip('"')
        parts = name.split(".")
        return cls._read(*parts) if len(parts) == len(cls._fields) else None

    @classmethod
    def _read(cls, job_id: str, image: str, attempt: str) -> Self | None:
        if not (job_id and _NUMBER.fullmatch(image) and _NUMBER.fullmatch(attempt)):
            return None
        return cls(job_id, int(image), int(attempt))


# ── what Replicate says ──


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _time_or_none(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        # Up to nine fractional digits come; Python reads all of them and keeps six.
        read = datetime.fromisoformat(value)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class Prediction(BaseModel):
    """A prediction, as far as we need it: whatever else is odd about it, it was made and may be billed."""

    id: Annotated[str, BeforeValidator(lambda value: value or None)]
    status: Annotated[str | None, BeforeValidator(_text_or_none)] = None
    input: JsonValue = None
    output: JsonValue = None
    error: JsonValue = None
    webhook: Annotated[str | None, BeforeValidator(_text_or_none)] = None
    created_at: Annotated[datetime | None, BeforeValidator(_time_or_none)] = None

    @property
    def tags(self) -> set[Tag]:
        """What its own echo of the webhook's URL and of the photo's says that it is for: one, if all is well.

        Only the photo's field is looked at: what the others hold, the prompt say, a client may have written.
        """
        found = [Tag.of_query(self.webhook.partition("?")[2]) if self.webhook else None]
        photo = self.input.get(settings().input_mapping.image) if isinstance(self.input, dict) else None
        urls = photo if isinstance(photo, list) else [photo]
        found += [Tag.of_photo_url(url) for url in urls if isinstance(url, str)]
        return {tag for tag in found if tag}

    @property
    def output_url(self) -> str | None:
        """Where the picture is: models give a URL or a list of them, of which the first counts."""
        first = self.output[0] if isinstance(self.output, list) and self.output else self.output
        return first if isinstance(first, str) else None


class _Page(BaseModel):
    results: list[JsonValue]
    next: str | None = None


class _Problem(BaseModel):
    """What an error's body may hold."""

    retry_after: float | None = None


class _Secret(BaseModel):
    key: str


# ── what a request for a prediction came to ──


@dataclass(frozen=True, slots=True)
class Created:
    prediction_id: str


@dataclass(frozen=True, slots=True)
class NotCreated:
    """It provably was not made: another try later may succeed."""

    retry_after: float | None  # seconds, where Replicate says
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not made, and will not be."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been made."""

    answered: bool  # something came back, so the request is no longer on its way
    reason: str


type Answer = Created | NotCreated | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prediction to ask for."""

    tag: Tag
    photo_url: str
    prompt: str
    seed: int | None


class ReplicateUnavailable(Exception):  # noqa: N818  # it is theirs, not ours
    """Replicate did not answer, or not with what was asked for. Later it may."""


class _NoToken(ReplicateUnavailable):
    """Nobody has put the token where it is looked for: waiting does not help."""


REFUSALS = {
    401: Failure("replicate_unauthorized", "The service's access to Replicate was refused."),
    402: Failure("replicate_out_of_credit", "The service's credit at Replicate is used up."),
    403: Failure("replicate_unauthorized", "The service's access to Replicate was refused."),
    404: Failure("replicate_model_not_found", "The model that makes the pictures does not exist."),
    422: Failure("replicate_input_rejected", "The model does not take this photo or prompt."),
}
# Who says so is not who makes predictions: the request may have gone through, and be worked on yet.
GATEWAY = {502, 504, 408}
REFUSED = Failure("replicate_refused", "Replicate refused to make the pictures.")


def create(wanted: Sequence[Wanted], *, webhook_url: str, cancel_after: int) -> list[Answer]:
    """Ask for all of `wanted` at once, and say of each what came of it. Returns within CREATE_SECONDS or so.

    Args:
        wanted: one POST each.
        webhook_url: where Replicate shall tell the end, before the tag is put on it.
        cancel_after: seconds from creation after which Replicate gives up by itself, so that nothing runs on at
            the user's cost.
    """
    give_up_at = time.monotonic() + CREATE_SECONDS
    try:
        token = _token()
    except _NoToken:
        return [Refused(REFUSALS[401]) for _ in wanted]
    except ReplicateUnavailable as error:
        return [NotCreated(retry_after=None, reason=str(error)) for _ in wanted]

    def ask(one: Wanted) -> Answer:
        return _create(one, token, webhook_url, max(MIN_CANCEL_AFTER, cancel_after), give_up_at)

    # One that hangs in a name look-up does not hold the rest, and cannot send any more (`_Wire` sees to that).
    came = within(CREATE_SECONDS + 1, [partial(ask, one) for one in wanted])
    answers = [answer or Unknown(answered=False, reason="no answer") for answer in came]
    if Refused(REFUSALS[401]) in answers and _token(fresh=True) != token:
        rotated = NotCreated(retry_after=None, reason="the token was rotated")
        return [rotated if answer == Refused(REFUSALS[401]) else answer for answer in answers]
    return answers


def _create(one: Wanted, token: str, webhook_url: str, cancel_after: int, give_up_at: float) -> Answer:
    wire = _Wire(give_up_at, {"Cancel-After": f"{cancel_after}s"})
    model_input = settings().input_mapping.input_for(one.photo_url, one.prompt, one.seed)
    try:
        _ask(
            lambda: _client(token, wire).predictions.create(
                version=settings().replicate_model,
                input=dict(model_input),
                webhook=one.tag.on(webhook_url),
                webhook_events_filter=["completed"],
            )
        )
        created = Prediction.model_validate_json(wire.body)
    except _HttpError as error:
        return _judge(error)
    except (_TooLateToSend, httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return NotCreated(retry_after=None, reason=type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(answered=False, reason=type(error).__name__)
    except ValidationError:
        return Unknown(answered=True, reason="unreadable answer")
    return Created(created.id)


def _judge(error: _HttpError) -> Answer:
    reason = f"HTTP {error.status}"
    if error.status == httpx.codes.TOO_MANY_REQUESTS:
        return NotCreated(error.retry_after, reason)
    if error.status >= 500 or error.status == httpx.codes.REQUEST_TIMEOUT:  # noqa: PLR2004
        return Unknown(answered=error.status not in GATEWAY, reason=reason)
    return Refused(REFUSALS.get(error.status, REFUSED))


def get(prediction_id: str) -> Prediction | None:
    """The prediction as it is now, or None where Replicate knows of none.

    Raises:
        ReplicateUnavailable: no usable answer.
    """
    try:
        return _read(Prediction, lambda client: client.predictions.get(prediction_id))
    except _HttpError as error:
        if error.status == httpx.codes.NOT_FOUND:
            return None
        raise


def list_since(since: datetime) -> list[Prediction]:
    """Every prediction made since then, newest first. What cannot be read hides no other.

    Raises:
        ReplicateUnavailable: the list could not be read to its end, so that nothing follows from what is absent.
    """
    since -= timedelta(seconds=60)  # their clock is not ours
    cursor = f"/v1/predictions?{urlencode({'created_after': since.isoformat()})}"
    found: list[Prediction] = []
    give_up_at = time.monotonic() + LIST_SECONDS
    while time.monotonic() < give_up_at:
        page = _read(_Page, partial(_list, cursor=cursor))
        rows = [row for row in map(_prediction_or_none, page.results) if row]
        found += rows
        if not page.next or any(row.created_at and row.created_at < since for row in rows):
            return found
        cursor = page.next
        if not _is_at_replicate(cursor):
            raise ReplicateUnavailable("the list goes on at another host")
    raise ReplicateUnavailable("the list does not end")


def _is_at_replicate(url: str) -> bool:
    try:
        return urlsplit(url).netloc in {"", urlsplit(settings().replicate_base_url).netloc}
    except ValueError:
        return False


def tagged_since(since: datetime) -> dict[Tag, str]:
    """The ids of all predictions made since then, by what they are for.

    Raises:
        ReplicateUnavailable: as `list_since`.
    """
    return {tag: row.id for row in list_since(since) for tag in row.tags}


def _list(client: Client, cursor: str) -> object:
    return client.predictions.list(cursor=cursor)


def _prediction_or_none(row: JsonValue) -> Prediction | None:
    try:
        return Prediction.model_validate(row)
    except ValidationError:
        logger.warning("a listed prediction cannot be read")
        return None


def cancel(prediction_id: str) -> None:
    """Ask Replicate to stop. That it had ended already, or is unknown there, is as good.

    What goes wrong is logged only: `Cancel-After` ends it anyway.
    """
    try:
        _read(Prediction, lambda client: client.predictions.cancel(prediction_id))
    except ReplicateUnavailable as error:
        logger.warning("not canceled", prediction_id=prediction_id, reason=str(error))


@dataclass(slots=True)
class _Kept:
    """The signing secret that is kept, and when it was last asked for."""

    secret: str | None = None
    asked_at: datetime = _NEVER


_kept = _Kept()


def signing_secret(*, fresh: bool = False) -> str:
    """The webhooks' signing secret of the token's account, kept for SECRET_SECONDS.

    Args:
        fresh: the one that is kept did not fit: fetch it again, unless that was tried within the last minute.

    Raises:
        ReplicateUnavailable: it could not be had, now or before.
    """
    age = clock.now() - _kept.asked_at
    stale = age >= timedelta(seconds=SECRET_REFETCH_SECONDS if fresh else SECRET_SECONDS)
    if _kept.secret is None or stale:
        _kept.asked_at = clock.now()
        try:
            _kept.secret = _read(_Secret, lambda client: client.webhooks.default.secret()).key
        except ReplicateUnavailable:
            if _kept.secret is None:
                raise
    return _kept.secret


# ── the wire ──


def _read[T: BaseModel](kind: type[T], request: Callable[[Client], object]) -> T:
    """What Replicate answers to a request that changes nothing.

    Raises:
        ReplicateUnavailable: no usable answer.
    """
    wire = _Wire(time.monotonic() + READ_SECONDS)
    client = _client(_token(), wire)

    def ask() -> bool:
        _ask(lambda: request(client))
        return True

    try:
        if within(READ_SECONDS + 0.5, [ask]) == [None]:
            raise ReplicateUnavailable("too slow")
        return kind.model_validate_json(wire.body)
    except _HttpError as error:
        if error.status == httpx.codes.UNAUTHORIZED:
            _token(fresh=True)  # it may have been rotated
        raise
    except (httpx.HTTPError, _TooLateToSend, ValidationError) as error:
        raise ReplicateUnavailable(type(error).__name__) from None


class _HttpError(ReplicateUnavailable):
    """Replicate answered, but not with 2xx. It carries what `ReplicateError` drops."""

    def __init__(self, status: int, headers: httpx.Headers, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        try:
            told = _Problem.model_validate_json(body).retry_after
        except ValidationError:
            told = None
        if told is None and headers.get("retry-after", "").isdigit():
            told = float(headers["retry-after"])
        self.retry_after = told


class _TooLateToSend(Exception):  # noqa: N818  # caught within this module
    """The time for this request ran out before it left."""


class _Wire(httpx.BaseTransport):
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
            raise _HttpError(answer.status_code, answer.headers, self.body)
        return httpx.Response(answer.status_code, content=self.body, request=request)

    def _trace(self, event: str, _info: object) -> None:
        # A thread that was stuck before its request left, in a name look-up say, or in a function that Lambda
        # froze, must not send it when everybody has come to believe that it never will.
        if event.endswith("send_request_headers.started") and time.monotonic() > self._give_up_at:
            raise _TooLateToSend


def _ask(request: Callable[[], object]) -> None:
    """Send a request through the client, whatever the client then makes of the answer."""
    try:
        request()
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        # pydantic.v1.ValidationError and JSONDecodeError among them: it was answered, and `_Wire` has the answer.
        logger.info("the client cannot read an answer", reason=type(error).__name__)


def _client(token: str, wire: _Wire) -> Client:
    from replicate.client import Client  # noqa: PLC0415  # takes long, and `api` asks Replicate for nothing

    return Client(api_token=token, base_url=settings().replicate_base_url, transport=wire)


@cache
def _transport() -> httpx.HTTPTransport:
    # No connection is kept: one that the other side has closed meanwhile looks like a lost answer.
    return httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)


def _token(*, fresh: bool = False) -> str:
    name = settings().replicate_token_parameter
    try:
        token = str(_ssm().get(name, decrypt=True, max_age=TOKEN_SECONDS, force_fetch=fresh))
    except GetParameterError as error:
        # powertools raises it without a cause; botocore makes the class of what it was at run time.
        reason = type(error.__context__ or error).__name__
        logger.error("no Replicate token", parameter=name, reason=reason)
        raise (_NoToken if reason == "ParameterNotFound" else ReplicateUnavailable)("no token") from None
    return token.strip()


@cache
def _ssm() -> SSMProvider:
    config = Config(connect_timeout=2, read_timeout=4, retries={"mode": "standard", "max_attempts": 3})
    return SSMProvider(boto_config=config, boto3_session=aws.session())

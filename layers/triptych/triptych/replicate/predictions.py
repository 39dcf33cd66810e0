"""Predictions at Replicate: create, get, list and cancel them, and read what Replicate sends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode, urlsplit

import httpx
from pydantic import BaseModel, BeforeValidator, JsonValue, ValidationError

from triptych.failures import FailureKind
from triptych.models import PRESETS
from triptych.replicate import transport
from triptych.replicate.tags import Tag
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import logger
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate.client import Client

CREATE_SECONDS = 12.0  # from the connection to the last byte; a create request usually takes 1 s or 2 s
CREATE_GRACE_SECONDS = 1.0
LIST_SECONDS = 9.0  # for all pages together
MIN_CANCEL_AFTER = 5  # seconds; Replicate refuses less


# ── answers ──


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _time_or_none(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        # Replicate sends up to nine fractional digits. Python reads all of them and keeps six.
        read = datetime.fromisoformat(value)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class Prediction(BaseModel):
    """A prediction, as far as it matters here. Odd values are tolerated: it exists and may be billed all the same."""

    id: Annotated[str, BeforeValidator(lambda value: value or None)]
    status: Annotated[str | None, BeforeValidator(_text_or_none)] = None
    input: JsonValue = None
    output: JsonValue = None
    error: JsonValue = None
    webhook: Annotated[str | None, BeforeValidator(_text_or_none)] = None
    created_at: Annotated[datetime | None, BeforeValidator(_time_or_none)] = None

    @property
    def tags(self) -> set[Tag]:
        """The tags in the photo's URL (part of `input`) and in the webhook's URL. Normally there is exactly one.

        Replicate's schema promises `input`. It does not promise `webhook`, so its absence means nothing. Only fields
        that take a photo are read: a client writes the other fields, such as the prompt.
        """
        found = [Tag.of_query(self.webhook.partition("?")[2]) if self.webhook else None]
        given = self.input if isinstance(self.input, dict) else {}
        for photo in map(given.get, _photo_fields()):
            urls = photo if isinstance(photo, list) else [photo]
            found += [Tag.of_photo_url(url) for url in urls if isinstance(url, str)]
        return {tag for tag in found if tag}

    @property
    def output_url(self) -> str | None:
        """Where the output is. A model gives a URL or a list of URLs, of which the first counts."""
        first = self.output[0] if isinstance(self.output, list) and self.output else self.output
        return first if isinstance(first, str) else None


def _photo_fields() -> set[str]:
    """Return the input fields that may hold the photo.

    The fields of all presets are included, because a deployment may change the model while predictions run.
    """
    mapping = settings().input_mapping
    return {one.image for one in (mapping, *PRESETS.values())} - {mapping.prompt}


class _Page(BaseModel):
    results: list[JsonValue]
    next: str | None = None


# ── results of a create request ──


@dataclass(frozen=True, slots=True)
class Created:
    """Replicate has created the prediction."""

    prediction_id: str


@dataclass(frozen=True, slots=True)
class NotCreated:
    """The prediction provably does not exist. A later try may succeed."""

    retry_after: float | None  # seconds, if Replicate names them
    reason: str
    throttled: bool = False  # by Replicate's rate limit


@dataclass(frozen=True, slots=True)
class Refused:
    """The prediction does not exist, and Replicate will not create it."""

    failure: FailureKind


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The prediction may or may not exist."""

    answered: bool  # there was some answer, so the request is no longer on its way
    reason: str


type Answer = Created | NotCreated | Refused | InDoubt


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """A prediction to create."""

    tag: Tag
    photo_url: str
    prompt: str
    seed: int | None


REFUSALS = {
    401: FailureKind.REPLICATE_UNAUTHORIZED,
    402: FailureKind.REPLICATE_OUT_OF_CREDIT,
    403: FailureKind.REPLICATE_UNAUTHORIZED,
    404: FailureKind.REPLICATE_MODEL_NOT_FOUND,
    422: FailureKind.REPLICATE_INPUT_REJECTED,
}
UNAUTHORIZED = Refused(FailureKind.REPLICATE_UNAUTHORIZED)
# A gateway sends these, not the server that creates predictions: the request may still be on its way to that server.
GATEWAY = {502, 504, 408, *range(520, 525)}  # 520 to 524 are Cloudflare's


def create(new: Sequence[NewPrediction], *, webhook_url: str, cancel_after: int) -> list[Answer]:
    """Create all of `new` at the same time, one POST each; return the result of each in about CREATE_SECONDS at most.

    Args:
        new: The predictions.
        webhook_url: Where Replicate reports the end; each prediction's tag is added to it.
        cancel_after: Seconds after which Replicate itself cancels the prediction, so that nothing runs on and is billed.
    """
    budget = TimeBudget(CREATE_SECONDS)
    try:
        token = transport.token()
    except transport.NoTokenError:
        return [UNAUTHORIZED for _ in new]
    except transport.TokenUnreadableError:
        return [Refused(FailureKind.REPLICATE_TOKEN_UNREADABLE) for _ in new]
    except transport.ReplicateUnavailableError as error:
        return [NotCreated(retry_after=None, reason=str(error)) for _ in new]

    def create_one(one: NewPrediction) -> Answer:
        return _create(one, token, webhook_url, max(MIN_CANCEL_AFTER, cancel_after), budget)

    # A POST that hangs in a name look-up does not delay the others, and `Exchange` keeps it from being sent later.
    results = budget.run([partial(create_one, one) for one in new], grace=CREATE_GRACE_SECONDS)
    answers = [answer or InDoubt(answered=False, reason="no answer") for answer in results]
    if UNAUTHORIZED in answers and transport.token(fresh=True) != token:
        rotated = NotCreated(retry_after=None, reason="the token was rotated")
        return [rotated if answer == UNAUTHORIZED else answer for answer in answers]
    return answers


def _create(
    one: NewPrediction, token: str, webhook_url: str, cancel_after: int, budget: TimeBudget
) -> Answer:
    exchange = transport.Exchange(budget, {"Cancel-After": f"{cancel_after}s"})
    model_input = settings().input_mapping.input_for(one.photo_url, one.prompt, one.seed)
    try:
        transport.send(
            lambda: transport.client(token, exchange).predictions.create(
                version=settings().replicate_model,
                input=dict(model_input),
                webhook=one.tag.on(webhook_url),
                webhook_events_filter=["completed"],
            )
        )
        created = Prediction.model_validate_json(exchange.body)
    except transport.HttpError as error:
        return _result_of(error)
    except (
        transport.TooLateToSendError,
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
    ) as error:
        return NotCreated(retry_after=None, reason=type(error).__name__)
    except httpx.HTTPError as error:
        return InDoubt(answered=False, reason=type(error).__name__)
    except ValidationError:
        return InDoubt(answered=True, reason="unreadable answer")
    return Created(created.id)


def _result_of(error: transport.HttpError) -> Answer:
    reason = f"HTTP {error.status}"
    if error.status == httpx.codes.TOO_MANY_REQUESTS:
        return NotCreated(error.retry_after, reason, throttled=True)
    if error.status >= 500 or error.status == httpx.codes.REQUEST_TIMEOUT:  # noqa: PLR2004
        return InDoubt(answered=error.status not in GATEWAY, reason=reason)
    return Refused(REFUSALS.get(error.status, FailureKind.REPLICATE_REFUSED))


def get(prediction_id: str) -> Prediction | None:
    """Return the prediction as it is now, or None if Replicate does not know it.

    Raises:
        ReplicateUnavailableError: No usable answer.
    """
    try:
        return transport.read(Prediction, lambda client: client.predictions.get(prediction_id))
    except transport.HttpError as error:
        if error.status == httpx.codes.NOT_FOUND:
            return None
        raise


def list_since(since: datetime) -> list[Prediction]:
    """Return every prediction created since then, newest first. An unreadable row does not hide the others.

    Raises:
        ReplicateUnavailableError: The list could not be read to its end, so a missing prediction proves nothing.
    """
    since -= timedelta(seconds=60)  # Replicate's clock may differ
    cursor = f"/v1/predictions?{urlencode({'created_after': since.isoformat()})}"
    found: list[Prediction] = []
    budget = TimeBudget(LIST_SECONDS)
    while not budget.is_spent:
        page = transport.read(_Page, partial(_list, cursor=cursor))
        rows = [row for row in map(_prediction_or_none, page.results) if row]
        found += rows
        if not page.next or any(row.created_at and row.created_at < since for row in rows):
            return found
        cursor = page.next
        if not _is_at_replicate(cursor):
            raise transport.ReplicateUnavailableError("the next page of the list is at another host")
    raise transport.ReplicateUnavailableError("the list is too long to read in time")


def _is_at_replicate(url: str) -> bool:
    try:
        return urlsplit(url).netloc in {"", urlsplit(settings().replicate_base_url).netloc}
    except ValueError:
        return False


def tagged_since(since: datetime) -> dict[Tag, str]:
    """Return the ids of all predictions created since then, by their tag. A row with two tags counts for neither.

    Raises:
        ReplicateUnavailableError: As `list_since` does.
    """
    return {tag: row.id for row in list_since(since) if len(row.tags) == 1 for tag in row.tags}


def _list(client: Client, cursor: str) -> object:
    return client.predictions.list(cursor=cursor)


def _prediction_or_none(row: JsonValue) -> Prediction | None:
    try:
        return Prediction.model_validate(row)
    except ValidationError:
        logger.warning("a row in the list of predictions cannot be read")
        return None


def cancel(prediction_id: str) -> None:
    """Ask Replicate to cancel a prediction. One that has ended, or that Replicate does not know, is no error.

    A failure is only logged, because `Cancel-After` ends the prediction anyway.
    """
    try:
        transport.read(Prediction, lambda client: client.predictions.cancel(prediction_id))
    except transport.ReplicateUnavailableError as error:
        logger.warning("not canceled", prediction_id=prediction_id, reason=str(error))

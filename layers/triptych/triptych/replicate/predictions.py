"""Predictions: asking Replicate for them, finding them again, and what they have come to."""

from __future__ import annotations

import time
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
from triptych.runtime.budget import within
from triptych.runtime.observability import logger
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate.client import Client

CREATE_SECONDS = 12.0  # a create answers in one or two; all of it, from the connection to the last byte
LIST_SECONDS = 9.0  # all pages together
MIN_CANCEL_AFTER = 5  # seconds; less is refused


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
        """The tags in the photo's URL in `input` and in the echo of the webhook's URL: one, if all is well.

        Replicate's schema promises `input`. It does not promise the echo, so that none follows from its absence.
        Only fields that take a photo are read: a client may have written what the others hold, such as the prompt.
        """
        found = [Tag.of_query(self.webhook.partition("?")[2]) if self.webhook else None]
        given = self.input if isinstance(self.input, dict) else {}
        for photo in map(given.get, _photo_fields()):
            urls = photo if isinstance(photo, list) else [photo]
            found += [Tag.of_photo_url(url) for url in urls if isinstance(url, str)]
        return {tag for tag in found if tag}

    @property
    def output_url(self) -> str | None:
        """Where the picture is: models give a URL or a list of them, of which the first counts."""
        first = self.output[0] if isinstance(self.output, list) and self.output else self.output
        return first if isinstance(first, str) else None


def _photo_fields() -> set[str]:
    """The input fields that may hold the photo.

    The presets' fields are among them, because a deployment may change the model while predictions run.
    """
    mapping = settings().input_mapping
    return {one.image for one in (mapping, *PRESETS.values())} - {mapping.prompt}


class _Page(BaseModel):
    results: list[JsonValue]
    next: str | None = None


# ── what a request for a prediction came to ──


@dataclass(frozen=True, slots=True)
class Created:
    prediction_id: str


@dataclass(frozen=True, slots=True)
class NotCreated:
    """It provably was not made: another try later may succeed."""

    retry_after: float | None  # seconds, where Replicate says
    reason: str
    throttled: bool = False  # by Replicate's rate limit


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not made, and will not be."""

    failure: FailureKind


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


REFUSALS = {
    401: FailureKind.REPLICATE_UNAUTHORIZED,
    402: FailureKind.REPLICATE_OUT_OF_CREDIT,
    403: FailureKind.REPLICATE_UNAUTHORIZED,
    404: FailureKind.REPLICATE_MODEL_NOT_FOUND,
    422: FailureKind.REPLICATE_INPUT_REJECTED,
}
UNAUTHORIZED = Refused(FailureKind.REPLICATE_UNAUTHORIZED)
# Who says so is not who makes predictions: the request may have gone through, and be worked on yet.
GATEWAY = {502, 504, 408, *range(520, 525)}  # 520 to 524 are Cloudflare's


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
        token = transport.token()
    except transport.NoToken:
        return [UNAUTHORIZED for _ in wanted]
    except transport.TokenUnreadable:
        return [Refused(FailureKind.REPLICATE_TOKEN_UNREADABLE) for _ in wanted]
    except transport.ReplicateUnavailable as error:
        return [NotCreated(retry_after=None, reason=str(error)) for _ in wanted]

    def ask(one: Wanted) -> Answer:
        return _create(one, token, webhook_url, max(MIN_CANCEL_AFTER, cancel_after), give_up_at)

    # One that hangs in a name look-up does not hold the rest, and cannot send any more (`wire.Wire` sees to that).
    came = within(CREATE_SECONDS + 1, [partial(ask, one) for one in wanted])
    answers = [answer or Unknown(answered=False, reason="no answer") for answer in came]
    if UNAUTHORIZED in answers and transport.token(fresh=True) != token:
        rotated = NotCreated(retry_after=None, reason="the token was rotated")
        return [rotated if answer == UNAUTHORIZED else answer for answer in answers]
    return answers


def _create(one: Wanted, token: str, webhook_url: str, cancel_after: int, give_up_at: float) -> Answer:
    way = transport.Wire(give_up_at, {"Cancel-After": f"{cancel_after}s"})
    model_input = settings().input_mapping.input_for(one.photo_url, one.prompt, one.seed)
    try:
        transport.ask(
            lambda: transport.client(token, way).predictions.create(
                version=settings().replicate_model,
                input=dict(model_input),
                webhook=one.tag.on(webhook_url),
                webhook_events_filter=["completed"],
            )
        )
        created = Prediction.model_validate_json(way.body)
    except transport.HttpError as error:
        return _judge(error)
    except (transport.TooLateToSend, httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return NotCreated(retry_after=None, reason=type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(answered=False, reason=type(error).__name__)
    except ValidationError:
        return Unknown(answered=True, reason="unreadable answer")
    return Created(created.id)


def _judge(error: transport.HttpError) -> Answer:
    reason = f"HTTP {error.status}"
    if error.status == httpx.codes.TOO_MANY_REQUESTS:
        return NotCreated(error.retry_after, reason, throttled=True)
    if error.status >= 500 or error.status == httpx.codes.REQUEST_TIMEOUT:  # noqa: PLR2004
        return Unknown(answered=error.status not in GATEWAY, reason=reason)
    return Refused(REFUSALS.get(error.status, FailureKind.REPLICATE_REFUSED))


def get(prediction_id: str) -> Prediction | None:
    """The prediction as it is now, or None where Replicate knows of none.

    Raises:
        ReplicateUnavailable: no usable answer.
    """
    try:
        return transport.read(Prediction, lambda client: client.predictions.get(prediction_id))
    except transport.HttpError as error:
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
        page = transport.read(_Page, partial(_list, cursor=cursor))
        rows = [row for row in map(_prediction_or_none, page.results) if row]
        found += rows
        if not page.next or any(row.created_at and row.created_at < since for row in rows):
            return found
        cursor = page.next
        if not _is_at_replicate(cursor):
            raise transport.ReplicateUnavailable("the list goes on at another host")
    raise transport.ReplicateUnavailable("the list does not end")


def _is_at_replicate(url: str) -> bool:
    try:
        return urlsplit(url).netloc in {"", urlsplit(settings().replicate_base_url).netloc}
    except ValueError:
        return False


def tagged_since(since: datetime) -> dict[Tag, str]:
    """The ids of all predictions made since then, by what they are for. A row with two tags counts for neither.

    Raises:
        ReplicateUnavailable: as `list_since`.
    """
    return {tag: row.id for row in list_since(since) if len(row.tags) == 1 for tag in row.tags}


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
        transport.read(Prediction, lambda client: client.predictions.cancel(prediction_id))
    except transport.ReplicateUnavailable as error:
        logger.warning("not canceled", prediction_id=prediction_id, reason=str(error))

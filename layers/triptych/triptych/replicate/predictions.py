"""Predictions at Replicate: create, get and cancel them, and read what Replicate sends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated

import httpx
from pydantic import BaseModel, BeforeValidator, JsonValue, ValidationError

from triptych.failures import FailureKind
from triptych.models import PRESETS
from triptych.replicate import transport
from triptych.replicate.tags import Tag
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import logger, unexpected
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from triptych.pace import Left


CREATE_SECONDS = 12.0  # from the connection to the last byte; a create request usually takes 1 s or 2 s
CREATE_GRACE_SECONDS = 1.0
CANCEL_GRACE_SECONDS = 1.0  # a cancellation has a grace of its own
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

    @cached_property  # the list of a busy account has thousands of rows, and each is asked for its tags several times
    def tags(self) -> set[Tag]:
        """The tags in the photo's URL (part of `input`) and in the webhook's URL. Normally there is exactly one.

        Replicate's schema promises `input`. It does not promise `webhook`, so its absence means nothing. The photo may be
        in any field of the input, because a deployment may change the mapping while predictions run. But a client writes
        the prompt, so the fields of prompts are not read.
        """
        found = [Tag.of_query(self.webhook.partition("?")[2]) if self.webhook else None]
        given = self.input if isinstance(self.input, dict) else {}
        for photo in map(given.get, given.keys() - _prompt_fields()):
            urls = photo if isinstance(photo, list) else [photo]
            found += [Tag.of_photo_url(url) for url in urls if isinstance(url, str)]
        return {tag for tag in found if tag}

    @property
    def output_url(self) -> str | None:
        """Where the output is. A model gives a URL or a list of URLs, of which the first counts."""
        first = self.output[0] if isinstance(self.output, list) and self.output else self.output
        return first if isinstance(first, str) else None


def _prompt_fields() -> set[str]:
    """Return the input fields that may hold a prompt."""
    mappings = [*PRESETS.values()]
    with suppress(
        ValueError
    ):  # the stack's own model has no mapping, but another that an order names may have one
        mappings.append(settings().input_mapping)
    return {mapping.prompt for mapping in mappings if mapping.prompt}


# ── results of a create request ──


@dataclass(frozen=True, slots=True)
class Created:
    """Replicate has created the prediction."""

    prediction_id: str
    left: Left | None = None  # of the rate limit, if Replicate says so


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
    model: str | None = None  # None: the stack's


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
UNKNOWN_OR_ENDED = {400, 409, 422}  # answers to a cancellation


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
        try:
            return _create(one, token, webhook_url, max(MIN_CANCEL_AFTER, cancel_after), budget)
        except Exception as error:  # noqa: BLE001  # the ids that the other requests got must not be lost
            unexpected("a create request failed in an unknown way")
            return InDoubt(answered=False, reason=type(error).__name__)

    # A POST that hangs in a name look-up does not delay the others, and `Exchange` keeps it from being sent later.
    results = budget.run([partial(create_one, one) for one in new], grace=CREATE_GRACE_SECONDS)
    answers = [answer or InDoubt(answered=False, reason="no answer") for answer in results]
    if UNAUTHORIZED in answers and _may_be_rotated(token):
        rotated = NotCreated(retry_after=None, reason="the token may have been rotated")
        return [rotated if answer == UNAUTHORIZED else answer for answer in answers]
    return answers


def _may_be_rotated(token: str) -> bool:
    try:
        return transport.token(fresh=True) != token
    except (transport.NoTokenError, transport.TokenUnreadableError):
        return False
    except transport.ReplicateUnavailableError:
        return True  # the next attempt finds out; the answers that did come are kept


def _create(
    one: NewPrediction, token: str, webhook_url: str, cancel_after: int, budget: TimeBudget
) -> Answer:
    exchange = transport.Exchange(budget, {"Cancel-After": f"{cancel_after}s"})
    model_input = settings().mapping_of(one.model).input_for(one.photo_url, one.prompt, one.seed)
    try:
        transport.send(
            lambda: transport.client(token, exchange).predictions.create(
                version=one.model or settings().replicate_model,
                input=dict(model_input),
                webhook=one.tag.on(webhook_url, token),
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
    return Created(created.id, exchange.left)


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


def cancel(prediction_id: str) -> bool:
    """Ask Replicate to cancel a prediction. Return whether it runs no longer: canceled, ended before, or unknown.

    A failure is only logged. `Cancel-After` ends the prediction at the job's deadline anyway.
    """
    try:
        transport.read(Prediction, lambda client: client.predictions.cancel(prediction_id))
    except transport.HttpError as error:
        # Replicate does not document its answer for a prediction that has ended. A refusal does not change.
        if error.status in UNKNOWN_OR_ENDED:
            return True
        logger.warning("not canceled", prediction_id=prediction_id, reason=str(error))
        return False
    except transport.ReplicateUnavailableError as error:
        logger.warning("not canceled", prediction_id=prediction_id, reason=str(error))
        return False
    return True


def cancel_all(prediction_ids: Sequence[str]) -> bool:
    """Cancel predictions at the same time. Return whether none of them runs any longer."""
    tasks = [partial(cancel, prediction_id) for prediction_id in prediction_ids]
    return all(TimeBudget(transport.READ_SECONDS).run(tasks, grace=CANCEL_GRACE_SECONDS))

"""An account at Replicate: its predictions, from creation to removal, its list and its limits.

Times are nanoseconds since the epoch.
"""

from __future__ import annotations

import base64
import json
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from heapq import heappop, heappush, merge
from itertools import count, islice, takewhile
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

from pydantic import JsonValue

from tests.support.replicate.limits import Limiter, LowCredit
from tests.support.replicate.prediction import SECOND, Prediction, nanoseconds
from tests.support.replicate.refusals import (
    NOT_FOUND,
    Hint,
    Json,
    RefusedError,
    invalid,
    ratelimit,
    throttled,
)

if TYPE_CHECKING:
    from tests.support.replicate.creation import Request
    from tests.support.replicate.prediction import Status

PAGE = 100
RETENTION_SECONDS = 3600.0
# https://replicate.com/docs/topics/predictions/lifecycle: "Predictions time out after running for 30 minutes". The
# error of such a prediction is from https://github.com/replicate/cog/issues/2098.
RUN_SECONDS = 30 * 60.0
TIMED_OUT = "Prediction timed out."
CREATES_PER_MINUTE, REQUESTS_PER_MINUTE = 600, 3000

type Limit = Limiter | LowCredit
# A prediction's place in the list: when it was created, its number among those of the account's own, and its id.
type Place = tuple[int, int, str]

OTHERS = -1  # the number of a prediction of another user
BEFORE_ALL = -2  # a number before every prediction of a time


def per_minute(requests: float, burst: int | None = None) -> Limiter | None:
    """Return a limit of so many requests a minute, by default all of them at once; None for 0."""
    return Limiter(int(requests) if burst is None else burst, 60 / requests) if requests else None


def _numbers() -> Callable[[], str]:
    numbers = count()
    return lambda: f"p{next(numbers)}"


@dataclass(kw_only=True)
class Account:
    """One account. `predictions` holds every prediction by its id, in the order of creation."""

    base: str = "https://api.replicate.com"
    secret: str  # signs webhooks
    retention: float = RETENTION_SECONDS  # how long a prediction's data are kept after its end
    run_seconds: float = RUN_SECONDS  # after which a running prediction fails
    creates: Limit | None = None  # the limit for create requests
    others: Limit | None = None  # the limit for all other requests
    hints: tuple[Hint, ...] = ()  # of a 429 and of the limit's other answers
    echoes: bool = False  # answers and webhooks hold `webhook`, which Replicate's schema does not promise
    lag: float = 0.0  # the list lacks the predictions of the last `lag` seconds
    unlisted: set[str] = field(default_factory=set)  # ids of predictions that the list lacks
    odd_rows: list[Json] = field(default_factory=list)  # the list begins with them
    page_rows: int = PAGE
    busy_every: int | None = None  # other users of the account create a prediction this often
    new_id: Callable[[], str] = field(default_factory=_numbers)
    on_create: Callable[[Prediction], None] = lambda _: None
    on_end: Callable[[Prediction], None] = lambda _: None
    on_remove: Callable[[Prediction], None] = lambda _: None  # its data are removed
    predictions: dict[str, Prediction] = field(default_factory=dict)
    _places: dict[str, Place] = field(default_factory=dict)
    _order: list[Place] = field(default_factory=list)  # all places, the oldest first
    _due: list[tuple[int, int, Prediction]] = field(default_factory=list)  # what `advance` has to look at
    _dues: Iterator[int] = field(default_factory=count)

    def create(self, request: Request, now: int) -> Prediction:
        """Create a prediction. Its deadline counts from here."""
        expires = None if math.isinf(request.lifetime) else now + int(request.lifetime * SECOND)
        prediction = self.add(
            Prediction(
                self.new_id(),
                request.model,
                request.version,
                request.input,
                now,
                webhook=request.webhook,
                events=request.events,
                expires=expires,
                request=request,
            )
        )
        self.on_create(prediction)
        return prediction

    def add(self, prediction: Prediction) -> Prediction:
        place = prediction.created, len(self._places), prediction.id
        self.predictions[prediction.id] = prediction
        self._places[prediction.id] = place
        insort(self._order, place)
        if prediction.expires is not None:
            self._look(prediction, prediction.expires)
        return prediction

    def start(self, prediction: Prediction, now: int) -> bool:
        """Let the prediction run, and be billed. Return whether it does: it may have ended."""
        self.advance(now)
        if not prediction.move("processing", now):
            return False
        self._look(prediction, now + int(self.run_seconds * SECOND))
        return True

    def end(
        self,
        prediction: Prediction,
        status: Status,
        now: int,
        *,
        output: str | list[str] | None = None,
        error: str | None = None,
    ) -> bool:
        """End the prediction. Return whether it did: what has ended does not change."""
        self.advance(now)
        return self._end(prediction, status, now, output=output, error=error)

    def cancel(self, name: str, now: int) -> Prediction:
        """Cancel a prediction and return it.

        Raises:
            RefusedError: 404, there is no such prediction.
        """
        prediction = self.get(name, now)
        self._end(prediction, "canceled", now)
        return prediction

    def get(self, name: str, now: int) -> Prediction:
        """Return the prediction with that id.

        Raises:
            RefusedError: 404, there is no such prediction.
        """
        self.advance(now)
        if name not in self.predictions:
            raise RefusedError(404, NOT_FOUND)
        return self.predictions[name]

    def ends_by(self, prediction: Prediction, otherwise: int) -> int:
        """Return when Replicate ends the prediction, or `otherwise`."""
        started = prediction.started
        times = [prediction.expires, None if started is None else started + int(self.run_seconds * SECOND)]
        return min((at for at in times if at is not None), default=otherwise)

    def advance(self, now: int) -> None:
        """Apply what time does: deadlines, the limit of a run, and the removal of data."""
        while self._due and self._due[0][0] <= now:
            at, _, prediction = heappop(self._due)
            if prediction.completed is not None:
                removed = prediction.completed + int(self.retention * SECOND)
                if at == removed:
                    prediction.data_removed = True
                    self.on_remove(prediction)
            elif at == prediction.expires:
                self._end(prediction, "canceled" if prediction.started is not None else "aborted", at)
            else:
                self._end(prediction, "failed", at, error=TIMED_OUT)

    def view(self, prediction: Prediction) -> Json:
        """Return the prediction object of the API and the webhooks, as of the last call that was given the time."""
        return prediction.view(self.base, echoes=self.echoes)

    def limit(self, kind: Literal["create", "other"], now: int) -> dict[str, str]:
        """Count one request; return the ratelimit-* headers of its answer.

        Raises:
            RefusedError: 429, the limit is exceeded.
        """
        limit = self.creates if kind == "create" else self.others
        return {} if limit is None else take(limit, now, self.hints)

    def page(self, query: dict[str, str], now: int) -> Json:
        """Return a page of the list, newest first.

        Every prediction here was created through the API, so `source=web` returns none. Unknown parameters are ignored;
        Replicate's behaviour is not documented.

        Args:
            query: The parameters: cursor, created_after, created_before, source.
            now: The time.

        Raises:
            RefusedError: A parameter is invalid.
        """
        self.advance(now)
        after, before = _instant(query, "created_after", 0), _instant(query, "created_before", now + 1)
        before = min(before, now + 1 - int(self.lag * SECOND))
        if query.get("source") not in {None, "web"}:
            raise invalid(("source", "must be web"))
        since, until = (after, BEFORE_ALL, ""), (before, BEFORE_ALL, "")
        rows, newer = ([], False) if "source" in query else self._rows(query.get("cursor"), since, until)
        rows, older = rows[: self.page_rows], len(rows) > self.page_rows

        def link(direction: str, place: Place) -> str:
            cursor = base64.urlsafe_b64encode(f"{direction} {place[-1]}".encode()).decode()
            return f"{self.base}/v1/predictions?{urlencode({**query, 'cursor': cursor})}"

        return {
            "previous": link("previous", rows[0]) if newer else None,
            "next": link("next", rows[-1]) if older else None,
            "results": [*self.odd_rows, *map(self._row, rows)],
        }

    def _rows(self, cursor: str | None, since: Place, until: Place) -> tuple[list[Place], bool]:
        """Return the rows of a page, one more if there are older ones, and whether there are newer ones.

        Raises:
            RefusedError: 404, there is no such cursor.
        """
        if cursor is None:
            return list(islice(self._newest(since, until), self.page_rows + 1)), False
        direction, at = self._read(cursor)
        if direction == "next":
            return list(islice(self._newest(since, min(at, until)), self.page_rows + 1)), True
        newer = list(takewhile(lambda row: row > at, self._newest(since, until)))
        if len(newer) < self.page_rows:
            return self._rows(None, since, until)
        return [*newer[-self.page_rows :], at], len(newer) > self.page_rows

    def _read(self, cursor: str) -> tuple[str, Place]:
        """Return a cursor's direction, and the place from which it goes on.

        Raises:
            RefusedError: 404, there is no such cursor.
        """
        try:
            direction, _, name = base64.urlsafe_b64decode(cursor).decode().partition(" ")
            place = self._places.get(name) or (int(name.removeprefix("other")), OTHERS, name)
        except ValueError:
            raise RefusedError(404, {"detail": "Invalid cursor", "status": 404}) from None
        return direction, place

    def _newest(self, since: Place, until: Place) -> Iterator[Place]:
        """Yield the places from `since` on and before `until`, the newest first."""
        own = self._order[bisect_left(self._order, since) : bisect_left(self._order, until)]
        known = self.predictions.keys() - self.unlisted if self.unlisted else self.predictions
        listed = (place for place in reversed(own) if place[-1] in known)
        if not self.busy_every:
            return listed
        every, (first, *_), (last, number, _) = self.busy_every, since, until
        times = range(-(-first // every) * every, last + (number > OTHERS), every)
        return merge(listed, ((at, OTHERS, f"other{at}") for at in reversed(times)), reverse=True)

    def _row(self, place: Place) -> Json:
        created, number, name = place
        own = number != OTHERS
        return (
            self.view(self.predictions[name]) if own else _other(name, created, self.base, echoes=self.echoes)
        )

    def _end(
        self,
        prediction: Prediction,
        status: Status,
        now: int,
        *,
        output: str | list[str] | None = None,
        error: str | None = None,
    ) -> bool:
        if not prediction.move(status, now):
            return False
        prediction.output, prediction.error = output, error
        self._look(prediction, now + int(self.retention * SECOND))
        self.on_end(prediction)
        return True

    def _look(self, prediction: Prediction, at: int) -> None:
        heappush(self._due, (at, next(self._dues), prediction))


class OtherRow(dict[str, JsonValue]):
    """The row of a prediction of another user. It never changes."""

    @cached_property
    def text(self) -> str:
        """The row in JSON."""
        return json.dumps(self)


@lru_cache(maxsize=20_000)  # readers of a busy account's list get the same rows again and again
def _other(name: str, created: int, base: str, *, echoes: bool) -> OtherRow:
    other = Prediction(name, "another/model", "hidden", {}, created, started=created, status="processing")
    return OtherRow(other.view(base, echoes=echoes))


def take(limit: Limit, now: int, hints: tuple[Hint, ...]) -> dict[str, str]:
    """Count one request; return the ratelimit-* headers of its answer.

    Raises:
        RefusedError: 429, the limit is exceeded.
    """
    left, reset = limit.take(now / SECOND)
    if left < 0:
        raise throttled(reset, hints)
    return ratelimit(left, reset) if "ratelimit" in hints else {}


def _instant(query: dict[str, str], name: str, default: int) -> int:
    """Return a query parameter's time."""
    if name not in query:
        return default
    try:
        moment = datetime.fromisoformat(query[name])
    except ValueError:
        raise invalid((name, "must be an ISO 8601 date and time")) from None
    return nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

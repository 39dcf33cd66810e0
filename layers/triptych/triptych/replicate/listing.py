"""Replicate's list of predictions: it shows whether a POST without a usable answer has created a prediction.

The list holds the predictions of the whole account, newest first, 100 in a page. A busy account makes 600 a minute. So
only the time in which the POST can have had its effect is read, and the parts of that time are read at once
(`created_after` and `created_before`, https://replicate.com/docs/reference/http#predictions.list).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from pydantic import JsonValue, ValidationError

from triptych.lazy import Lazy
from triptych.replicate import transport
from triptych.replicate.predictions import CREATE_SECONDS, Prediction
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import logger
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from replicate.client import Client

    from triptych.replicate.tags import Tag

LIST_SECONDS = 9.0  # for all pages together
LATEST_SECONDS = 90  # after its POST, no prediction is created any more
SKEW = timedelta(seconds=60)  # Replicate's clock may differ
LONGEST_LAG = timedelta(seconds=300)  # the list holds every prediction by then
# Nearly every prediction is created in this time around its POST.
LIKELY = (timedelta(seconds=-5), timedelta(seconds=15))
SLICE = timedelta(seconds=30)  # three pages of a busy account
TWINS = timedelta(seconds=5)  # predictions that one POST creates are not further apart


@dataclass(frozen=True, slots=True)
class Listed:
    """What was read of the list."""

    rows: Sequence[Prediction]
    # If not, a part could not be read, or the list was catching up meanwhile: then no gap in it proves anything.
    steady: bool = True
    # What was read before any gap. Only this shows that the list does not lag. None: all was read at once.
    before: Sequence[Prediction] | None = None

    def of(self, tag: Tag) -> list[str]:
        """Return the ids of the tag's predictions, the first created first. One POST can create two.

        A row that names two images counts for neither.
        """
        return [row.id for row in reversed(self.rows) if row.tags == {tag}]

    @property
    def tagged_ids(self) -> set[str]:
        """The ids of the predictions that name their image and were read before any gap."""
        return {row.id for row in self._evidence if row.tags}

    def covers(self, asked_at: datetime) -> bool:
        """Return whether the list provably does not lag behind a POST of `asked_at`: it holds a later prediction."""
        answered_by = asked_at + timedelta(seconds=CREATE_SECONDS) + SKEW
        return self.steady and any(row.created_at and row.created_at >= answered_by for row in self._evidence)

    @property
    def _evidence(self) -> Sequence[Prediction]:
        return self.rows if self.before is None else self.before


class _Page(Lazy):
    results: list[JsonValue]
    next: str | None = None


def find(wanted: Mapping[Tag, datetime], *, whole: bool) -> Listed:
    """Read the parts of the list that hold the predictions of `wanted`, if they exist.

    Reading ends early once each of `wanted` was found. An unreadable row does not hide the others.

    Args:
        wanted: The tags of the predictions, and when each was requested.
        whole: Read also the times at which few predictions are created. Only then a missing prediction proves anything.

    Raises:
        ReplicateUnavailableError: The list could not be read to its end, and none of `wanted` was found before.
    """
    budget, now = TimeBudget(LIST_SECONDS), clock.now()
    windows = [_Window.around(times, now) for times in _near(wanted.values())]
    page, rows = _page(_address(windows[0].start, windows[-1].end))
    if not page.next or _has_all(rows, wanted.keys()):
        return Listed(rows)
    likely = [part for window in windows for part in _slices(window.likely_start, window.likely_end)]
    rest = [
        part
        for window in windows
        for times in ((window.likely_end, window.end), (window.start, window.likely_start))
        for part in _slices(*times)
    ]
    try:
        rows = before = _joined(rows, *_read_all(likely, budget))
        if _has(rows, wanted.keys()) or not whole:
            return Listed(rows)
        rows = _joined(rows, *_read_all(rest, budget))
        if _has(rows, wanted.keys()):
            return Listed(rows)
        # The list may have caught up meanwhile: a later page then shows no lag that an earlier one had.
        again = _joined(rows, *_read_all(likely, budget))
        return Listed(again, steady=len(again) == len(rows), before=before)
    except transport.ReplicateUnavailableError as error:
        if not any(row.tags & wanted.keys() for row in rows):
            raise
        logger.warning("the list of predictions was read in part", reason=str(error))
        return Listed(rows, steady=False)


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of the list, and the part of it that holds nearly every prediction."""

    start: datetime
    likely_start: datetime
    likely_end: datetime
    end: datetime

    @classmethod
    def around(cls, asked: Sequence[datetime], now: datetime) -> _Window:
        """Return the window of predictions that were requested at these times, which are in order."""
        first, last = asked[0], asked[-1]
        end = min(now, last + timedelta(seconds=LATEST_SECONDS)) + SKEW
        return cls(first - SKEW, first + LIKELY[0], min(last + LIKELY[1], end), end)


def _near(times: Iterable[datetime]) -> list[list[datetime]]:
    """Return the times in order, in groups. The windows of two groups do not overlap.

    A job's doubts can be 20 minutes apart. All the time between cannot be read in time on a busy account.
    """
    groups: list[list[datetime]] = []
    for time in sorted(times):
        if groups and time - groups[-1][-1] <= timedelta(seconds=LATEST_SECONDS) + 2 * SKEW:
            groups[-1].append(time)
        else:
            groups.append([time])
    return groups


def created_since(start: datetime) -> int:
    """Return how many predictions the account has created since then; 100 may also be more.

    Raises:
        ReplicateUnavailableError: No usable answer.
    """
    page, _ = _page(_address(start, clock.now() + SKEW))
    return len(page.results)


def _read_all(slices: Iterable[tuple[datetime, datetime]], budget: TimeBudget) -> list[list[Prediction]]:
    """Read parts of the list at the same time."""
    parts = budget.run([partial(_read, *times, budget) for times in slices], grace=transport.GRACE_SECONDS)
    return [_known(part) for part in parts]


def _read(start: datetime, end: datetime, budget: TimeBudget) -> list[Prediction] | None:
    """Return what a part of the list holds, None if the time is over before."""
    address = _address(start, end)
    found: list[Prediction] = []
    while not budget.is_spent:
        page, rows = _page(address)
        found += rows
        if not page.next or any(row.created_at and row.created_at < start for row in rows):
            return found
        address = page.next
        if not _is_at_replicate(address):
            raise transport.ReplicateUnavailableError("the next page of the list is at another host")
    return None


def _page(address: str) -> tuple[_Page, list[Prediction]]:
    page = transport.read(_Page, partial(_list, cursor=address))
    return page, [row for row in map(_prediction_or_none, page.results) if row]


def _address(start: datetime, end: datetime) -> str:
    times = {"created_after": start.isoformat(), "created_before": end.isoformat()}
    return f"/v1/predictions?{urlencode(times)}"


def _slices(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        yield start, min(start + SLICE, end)
        start += SLICE


def _known(part: list[Prediction] | None) -> list[Prediction]:
    if part is None:
        raise transport.ReplicateUnavailableError("the list is too long to read in time")
    return part


def _joined(*parts: Iterable[Prediction]) -> list[Prediction]:
    """Return every prediction once, newest first."""
    rows = {row.id: row for row in chain(*parts)}.values()
    return sorted(rows, key=lambda row: row.created_at.timestamp() if row.created_at else 0, reverse=True)


def _has(rows: Iterable[Prediction], wanted: AbstractSet[Tag]) -> bool:
    return wanted <= {tag for row in rows if len(row.tags) == 1 for tag in row.tags}


def _has_all(rows: Sequence[Prediction], wanted: AbstractSet[Tag]) -> bool:
    """Return whether the newest rows of the list hold each of `wanted`, and whatever its POST created before it."""
    times = [(row.created_at, row.tags) for row in rows if row.created_at]
    found = min((at for at, tags in times if tags & wanted), default=None)
    return _has(rows, wanted) and found is not None and min(at for at, _ in times) <= found - TWINS


def _is_at_replicate(url: str) -> bool:
    try:
        return urlsplit(url).netloc in {"", urlsplit(settings().replicate_base_url).netloc}
    except ValueError:
        return False


def _list(client: Client, cursor: str) -> object:
    return client.predictions.list(cursor=cursor)


def _prediction_or_none(row: JsonValue) -> Prediction | None:
    try:
        return Prediction.model_validate(row)
    except ValidationError:
        logger.warning("a row in the list of predictions cannot be read")
        return None

"""What Replicate's list proves about predictions in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import pytest

from tests.support.jobs import START, at, job_of
from triptych.flows import costs, doubts, record
from triptych.flows.doubts import Settled
from triptych.job import (
    Event,
    Image,
    ImageStatus,
    Job,
    PredictionCreated,
    PredictionNotCreated,
)
from triptych.replicate import listing, predictions
from triptych.replicate.listing import Listed
from triptych.replicate.predictions import Prediction
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailableError

pytestmark = pytest.mark.usefixtures("configured")


def doubtful(index: int, asked: float | None = 0, until: float | None = 90) -> Image:
    return Image(
        index,
        ImageStatus.REQUESTING,
        attempt=1,
        asked_at=None if asked is None else at(asked),
        in_doubt_until=None if until is None else at(until),
    )


def known(index: int, asked: float | None) -> Image:
    when = None if asked is None else at(asked)
    return Image(index, ImageStatus.GENERATING, attempt=1, asked_at=when, prediction_id=f"p{index}")


def row(name: str, index: int | None = None, seconds: float | None = None) -> Prediction:
    url = None if index is None else Tag("j", index, 1).on("https://x", "a token")
    created = None if seconds is None else at(seconds).isoformat()
    return Prediction.model_validate({"id": name, "webhook": url, "created_at": created})


class World:
    """What the list holds, and what is done about it."""

    def __init__(self) -> None:
        self.listed: Listed | None = Listed([])
        self.wanted: list[tuple[dict[int, datetime], bool]] = []
        self.canceled: list[str] = []
        self.is_canceled = True
        self.counted: list[tuple[str, int]] = []
        self.job: Job | None = None

    def find(self, wanted: Mapping[Tag, datetime], *, whole: bool) -> Listed:
        self.wanted.append(({tag.image: asked for tag, asked in wanted.items()}, whole))
        if self.listed is None:
            raise ReplicateUnavailableError("HTTP 503")
        return self.listed

    def cancel_all(self, ids: list[str]) -> bool:
        self.canceled += ids
        return self.is_canceled

    def count(self, name: str, number: int = 1) -> None:
        self.counted.append((name, number))


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(listing, "find", world.find)
    monkeypatch.setattr(predictions, "cancel_all", world.cancel_all)
    monkeypatch.setattr(doubts, "count", world.count)
    monkeypatch.setattr(costs, "count_cost", lambda number: world.count("cost", number))
    monkeypatch.setattr(record, "read", lambda _: world.job)
    return world


# ── an absence ──


def is_absent(seconds: float, image: Image, *others: Image, listed: Listed | None = None) -> bool:
    job = job_of(image, *others)
    return doubts._proves_absence(listed or Listed([]), job, image, START, at(seconds))


LATER = Listed([row("later", seconds=72)])  # of another job, later than the POST can have taken


def test_absence_is_proven_at_the_end_of_a_doubt() -> None:
    assert not is_absent(89.9, doubtful(0))
    assert is_absent(90, doubtful(0))
    assert is_absent(90, doubtful(0, asked=None))
    assert is_absent(90, doubtful(0, until=None))


def test_absence_after_an_answer_needs_a_list_without_lag() -> None:
    answered = doubtful(0, until=30)
    assert not is_absent(30, answered)
    assert not is_absent(29.9, answered, listed=LATER)
    assert is_absent(30, answered, listed=LATER)
    assert not is_absent(89.9, answered)
    assert is_absent(90, answered)


def test_list_that_catches_up_proves_no_absence() -> None:
    assert not is_absent(600, doubtful(0), listed=replace(LATER, steady=False))


def test_old_list_says_nothing_of_outputs_that_it_has_forgotten() -> None:
    assert is_absent(3599.9, doubtful(0))
    assert not is_absent(3600, doubtful(0))
    assert is_absent(3600, replace(doubtful(0), reclaimed=True))  # such an output is lost


@pytest.mark.parametrize(
    ("asked", "lags"), [(-5, False), (-4.9, True), (0, True), (4.9, True), (5, False), (None, False)]
)
def test_list_without_a_known_older_prediction_lags(asked: float, *, lags: bool) -> None:
    sibling = known(1, asked)
    assert is_absent(90, doubtful(0), sibling) is not lags
    assert is_absent(90, doubtful(0), sibling, listed=Listed([row("p1", 1)]))
    assert is_absent(299.9, doubtful(0), sibling) is not lags
    assert is_absent(300, doubtful(0), sibling)


# ── settling ──


def test_nothing_in_doubt_reads_no_list(world: World) -> None:
    assert doubts.settle(job_of(known(0, 0)), at(90)) == Settled([], {})
    assert world.wanted == []


def test_unreadable_list_settles_nothing(world: World) -> None:
    world.listed = None
    assert doubts.settle(job_of(doubtful(0)), at(90)) == Settled([], {})


def test_list_settles_each_doubt_by_what_it_holds(world: World) -> None:
    rows = [row("p1b", 1), row("p1a", 1), row("p0", 0)]
    world.listed = Listed(rows)
    job = job_of(doubtful(0), doubtful(1), doubtful(2))
    settled = doubts.settle(job, at(90))
    absent = PredictionNotCreated(2, 1, at(90), was_in_doubt=True)
    assert settled.events == [PredictionCreated(0, 1, "p0"), PredictionCreated(1, 1, "p1a"), absent]
    assert settled.doubled == {"p1a": 1, "p1b": 1}


def test_doubts_of_two_minutes_are_settled_together(world: World) -> None:
    job = job_of(doubtful(0, asked=600), doubtful(1, asked=None), doubtful(2, 119.9), doubtful(3, 120))
    doubts.settle(job, at(10))
    assert world.wanted == [({1: at(0), 2: at(119.9)}, False)]


def test_oldest_doubt_is_settled_first(world: World) -> None:
    late = replace(job_of(doubtful(0, asked=600), doubtful(1, asked=500)), created_at=at(-900))
    doubts.settle(late, at(700))
    assert world.wanted == [({0: at(600), 1: at(500)}, True)]


@pytest.mark.parametrize(("ends", "whole"), [((90, 95), False), ((90, 89), True), ((95, None), True)])
def test_list_is_read_whole_once_a_doubt_ends(
    world: World, ends: tuple[float | None, float | None], *, whole: bool
) -> None:
    images = [doubtful(index, asked=index, until=until) for index, until in enumerate(ends)]
    doubts.read_list({Tag("j", image.index, 1): image for image in images}, at(-9), at(89))
    assert world.wanted == [({0: at(0), 1: at(1)}, whole)]


# ── what follows ──


def test_settled_doubts_are_counted(world: World) -> None:
    events: list[Event] = [PredictionCreated(0, 1, "p0"), PredictionNotCreated(1, 1, START)]
    doubts.count_settled(events)
    assert world.counted == [("PredictionsAdopted", 1), ("cost", 1), ("PredictionsNeverMade", 1)]


def test_predictions_that_no_image_takes_are_canceled_and_counted(world: World) -> None:
    doubts.cancel_unadopted(Settled([PredictionCreated(0, 1, "a")], {"a": 0, "b": 0, "c": 0}))
    assert world.canceled == ["b", "c"]
    assert world.counted == [("PredictionsDoubled", 2), ("cost", 2)]


def test_single_prediction_is_no_double(world: World) -> None:
    doubts.cancel_unadopted(Settled([PredictionCreated(0, 1, "a")], {}))
    assert (world.canceled, world.counted) == ([], [])


def test_double_is_canceled_once_its_image_has_taken_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(doubts, "about_job", logged.append)
    world.job = job_of(known(0, 0), doubtful(1))
    assert doubts.cancel_doubled("j", {"p0": 0, "double": 0})
    assert not doubts.cancel_doubled("j", {"a": 1, "b": 1, "another": 0})  # image 1 may take either
    assert world.canceled == ["double", "another"]
    world.is_canceled = False
    assert not doubts.cancel_doubled("j", {"p0": 0, "double": 0})
    assert logged == ["j"] * 3


def test_double_of_a_deleted_job_is_canceled(world: World) -> None:
    assert doubts.cancel_doubled("j", {"p0": 0, "double": 0})
    assert world.canceled == ["p0", "double"]

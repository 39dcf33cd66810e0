"""What runs on after a cancellation or deletion, and for how long it is looked for."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from tests.support.jobs import START
from triptych.aws import bucket
from triptych.aws.queues import RunningPrediction, WatchdogMessage
from triptych.flows import cleanup, doubts
from triptych.replicate import predictions
from triptych.replicate.listing import Listed
from triptych.replicate.predictions import Prediction
from triptych.runtime import clock

pytestmark = pytest.mark.usefixtures("configured")
CHOSEN = SimpleNamespace(generation_deadline_seconds=1800)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class World:
    """What Replicate's list and its cancellations say."""

    def __init__(self) -> None:
        self.listed: Listed | None = Listed([])
        self.canceled: list[str] = []
        self.is_canceled = True
        self.reads = 0

    def read_list(self, *_: object) -> Listed | None:
        self.reads += 1
        return self.listed

    def cancel_all(self, ids: list[str]) -> bool:
        self.canceled += ids
        return self.is_canceled or not ids


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(cleanup, "settings", lambda: CHOSEN)
    monkeypatch.setattr(doubts, "read_list", world.read_list)
    monkeypatch.setattr(predictions, "cancel_all", world.cancel_all)
    monkeypatch.setattr(bucket, "remove_all", lambda _: 0)
    return world


def stop(monkeypatch: pytest.MonkeyPatch, seconds: float, *running: RunningPrediction) -> int | None:
    """Stop what runs so many seconds after it ceased to be needed."""
    monkeypatch.setattr(clock, "now", lambda: at(seconds))
    return cleanup.stop("j", at(0), running)


def known(name: str, asked: float | None = 0) -> RunningPrediction:
    return RunningPrediction(
        image=0,
        attempt=1,
        prediction_id=name,
        asked_at=None if asked is None else at(asked),
        in_doubt_until=None,
    )


def doubtful(until: float, asked: float | None = 0) -> RunningPrediction:
    return RunningPrediction(
        image=0,
        attempt=1,
        prediction_id=None,
        asked_at=None if asked is None else at(asked),
        in_doubt_until=at(until),
    )


def later_row() -> Prediction:
    """Return a prediction by which the list proves that it does not lag."""
    return Prediction.model_validate({"id": "later", "created_at": at(300).isoformat()})


def test_known_prediction_is_canceled_without_the_list(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stop(monkeypatch, 1, known("a"), known("b", None)) is None
    assert (world.canceled, world.reads) == (["a", "b"], 0)


def test_failed_cancellation_is_repeated_ever_later_until_the_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.is_canceled = False
    for seconds, wait in ((1, 5), (5, 5), (77, 77), (299, 299), (400, 300), (1799, 300), (1800, None)):
        assert stop(monkeypatch, seconds, known("a")) == wait


def test_prediction_is_not_canceled_once_it_must_have_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(monkeypatch, 2999, known("a"))
    stop(monkeypatch, 3000, known("b"))
    assert world.canceled == ["a"]


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [(3, 5), (20, 20), (59, 59), (100, 60), (270, 30), (299.5, 1), (300, None), (301, None)],
)
def test_absent_prediction_is_looked_for_until_the_list_cannot_lag(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float, wait: int | None
) -> None:
    assert stop(monkeypatch, seconds, doubtful(until=90)) == wait
    assert stop(monkeypatch, seconds, doubtful(until=90, asked=None)) == wait


def test_doubt_that_ends_later_than_the_lag_is_looked_for_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stop(monkeypatch, 310, doubtful(until=350)) == 40


def test_list_that_does_not_lag_needs_no_look_after_the_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.listed = Listed([later_row()])
    assert stop(monkeypatch, 80, doubtful(until=90)) == 10
    assert stop(monkeypatch, 90, doubtful(until=90)) is None
    world.listed = Listed([later_row()], steady=False)
    assert stop(monkeypatch, 90, doubtful(until=90)) == 60


def test_unreadable_list_is_read_again_until_the_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.listed = None
    assert stop(monkeypatch, 100, doubtful(until=90)) == 100
    assert stop(monkeypatch, 400, doubtful(until=90)) == 300
    assert stop(monkeypatch, 1799, doubtful(until=90)) == 300
    assert stop(monkeypatch, 1800, doubtful(until=90)) is None
    assert stop(monkeypatch, 1800, doubtful(until=1850)) == 50


@pytest.mark.parametrize(
    ("uploads_until", "seconds", "wait"),
    [(None, 299.5, 2), (None, 300, 1), (None, 300.5, None), (900, 300.5, 601), (900, 900, 1), (200, 250, 51)],
)
def test_objects_are_removed_until_none_can_arrive(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    uploads_until: float | None,
    seconds: float,
    wait: int | None,
) -> None:
    monkeypatch.setattr(clock, "now", lambda: at(seconds))
    until = None if uploads_until is None else at(uploads_until)
    message = WatchdogMessage(job_id="j", born_at=at(0), left=(), uploads_until=until)
    assert cleanup.clean_up(message, None) == wait

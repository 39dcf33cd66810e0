"""What runs on after a cancellation or deletion, and for how long it is looked for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.support.jobs import at, job_of
from triptych.aws import bucket, queues
from triptych.aws.queues import RunningPrediction, WatchdogMessage
from triptych.flows import cleanup, doubts, record
from triptych.job import Image, ImageStatus, Job
from triptych.replicate import predictions
from triptych.replicate.listing import Listed
from triptych.replicate.predictions import Prediction
from triptych.replicate.tags import Tag
from triptych.runtime import clock

pytestmark = pytest.mark.usefixtures("configured")
TAG = Tag("j", 0, 1)
CHOSEN = SimpleNamespace(generation_deadline_seconds=1800)


class World:
    """What Replicate's list and its cancellations say."""

    def __init__(self) -> None:
        self.listed: Listed | None = Listed([])
        self.canceled: list[str] = []
        self.is_canceled = True
        self.reads = 0
        self.removed: list[str] = []
        self.sent: list[tuple[WatchdogMessage, int]] = []
        self.newer: list[Job] = []  # what other invocations store before the record is deleted
        self.delete_fails = False
        self.unexpected: list[str] = []

    def read_list(self, *_: object) -> Listed | None:
        self.reads += 1
        return self.listed

    def remove_all(self, job_id: str) -> int:
        self.removed.append(job_id)
        return 1

    def send(self, message: WatchdogMessage, *, delay: int) -> None:
        self.sent.append((message, delay))

    def delete(self, _: Job) -> Job | None:
        if self.delete_fails:
            raise ConnectionError
        return self.newer.pop() if self.newer else None

    def cancel_all(self, ids: list[str]) -> bool:
        self.canceled += ids
        return self.is_canceled or not ids


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(cleanup, "settings", lambda: CHOSEN)
    monkeypatch.setattr(doubts, "read_list", world.read_list)
    monkeypatch.setattr(predictions, "cancel_all", world.cancel_all)
    monkeypatch.setattr(bucket, "remove_all", world.remove_all)
    monkeypatch.setattr(queues, "send_to_watchdog", world.send)
    monkeypatch.setattr(record, "delete", world.delete)
    monkeypatch.setattr(cleanup, "unexpected", world.unexpected.append)
    return world


def stop(monkeypatch: pytest.MonkeyPatch, seconds: float, *running: RunningPrediction) -> int | None:
    """Stop what runs so many seconds after it ceased to be needed."""
    monkeypatch.setattr(clock, "now", lambda: at(seconds))
    return cleanup.stop("j", at(0), running)


def known(name: str | None, asked: float | None = 0) -> RunningPrediction:
    when = None if asked is None else at(asked)
    return RunningPrediction(image=0, attempt=1, prediction_id=name, asked_at=when, in_doubt_until=None)


def doubtful(until: float, asked: float | None = 0) -> RunningPrediction:
    return known(None, asked).model_copy(update={"in_doubt_until": at(until)})


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


def test_doubt_that_outlasts_the_lag_is_looked_for_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stop(monkeypatch, 310, doubtful(until=350)) == 40


def test_list_without_lag_needs_no_look_after_the_doubt(
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


def test_listed_prediction_is_canceled_and_no_doubt_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = TAG.on("https://x", "a token")
    world.listed = Listed([Prediction.model_validate({"id": "found", "webhook": url})])
    assert stop(monkeypatch, 20, doubtful(until=90)) is None
    assert world.canceled == ["found"]


def test_longest_doubt_is_looked_for_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.listed = Listed([later_row()])
    assert (
        stop(monkeypatch, 80, doubtful(until=85), doubtful(until=100).model_copy(update={"image": 1})) == 20
    )


# ── a deleted job ──


RUNNING = job_of(
    Image(0, ImageStatus.GENERATING, attempt=2, prediction_id="p0", asked_at=at(1)),
    Image(1, ImageStatus.REQUESTING, attempt=3, asked_at=at(2), in_doubt_until=at(92)),
    Image(2, ImageStatus.CANCELED, attempt=1, prediction_id="p2"),
    Image(3, ImageStatus.CANCELED),
    Image(4, ImageStatus.STORED, attempt=1, prediction_id="p4"),
    Image(5, ImageStatus.FAILED, attempt=1, in_doubt_until=at(92)),
)
FIRST = RunningPrediction(image=0, attempt=2, prediction_id="p0", asked_at=at(1), in_doubt_until=None)
SECOND = RunningPrediction(image=1, attempt=3, prediction_id=None, asked_at=at(2), in_doubt_until=at(92))
THIRD = RunningPrediction(image=2, attempt=1, prediction_id="p2", asked_at=None, in_doubt_until=None)


def test_deletion_names_all_that_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: at(7))
    monkeypatch.setattr(cleanup, "upload_deadline", lambda _: at(900))
    assert cleanup.deletion(RUNNING) == WatchdogMessage(
        job_id="j",
        born_at=at(7),
        left=(FIRST, SECOND, THIRD),
        uploads_until=at(900),
        group=queues.group_of("ann"),
    )


def clean_up(
    monkeypatch: pytest.MonkeyPatch, seconds: float, job: Job | None, *left: RunningPrediction
) -> int | None:
    monkeypatch.setattr(clock, "now", lambda: at(seconds))
    return cleanup.clean_up(WatchdogMessage(job_id="j", born_at=at(0), left=left), job)


def test_predictions_and_objects_of_a_deleted_job_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clean_up(monkeypatch, 10, None, FIRST) == 291
    assert (world.canceled, world.removed) == (["p0"], ["j"])
    world.is_canceled = False
    assert clean_up(monkeypatch, 10, None, FIRST) == 10
    assert world.sent == []


def test_new_job_of_the_same_id_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted job's id is blocked for two days. Clocks differ by less than one."""
    day = 86_400
    new = replace(RUNNING, created_at=at(day + 0.001))
    assert clean_up(monkeypatch, 2 * day, new, FIRST) is None
    assert (world.canceled, world.removed, world.sent) == ([], [], [])
    clean_up(monkeypatch, 2 * day, replace(RUNNING, created_at=at(day)))
    assert world.removed == ["j"]


def test_deletion_that_was_cut_off_is_finished_by_another_message(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.newer = [RUNNING]
    job = job_of(Image(0, ImageStatus.GENERATING, attempt=2, prediction_id="p0", asked_at=at(1)))
    assert clean_up(monkeypatch, 20, job, FIRST) is None
    assert [(message.left, delay) for message, delay in world.sent] == [
        ((FIRST,), 20),
        ((FIRST, SECOND, THIRD), 20),
    ]
    assert (world.canceled, world.removed, world.unexpected) == (["p0", "p2"], ["j"], [])


def test_record_that_cannot_be_deleted_keeps_its_objects(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.delete_fails = True
    assert clean_up(monkeypatch, 20, RUNNING) is None
    assert (world.canceled, world.removed) == (["p0", "p2"], [])
    assert (len(world.sent), len(world.unexpected)) == (1, 1)


def test_failed_cleanup_of_a_cut_deletion_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(bucket, "remove_all")
    assert clean_up(monkeypatch, 20, RUNNING) is None
    assert (len(world.sent), len(world.unexpected)) == (1, 1)

"""When a job enters the line for Replicate's limit, and how long it stays out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.jobs import START, at, waiting_job
from triptych.aws import bucket, queues
from triptych.flows import open_photo, record, wait_in_line
from triptych.job import Canceled, Event, ImageStatus, Job, UploadArrived, apply, apply_all
from triptych.pace import Pace
from triptych.replicate import listing
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime import clock

KEY = "uploads/j/photo.jpg"
ARRIVED = UploadArrived(KEY, START)


class World:
    """One stored job and its photo."""

    def __init__(self) -> None:
        self.job: Job | None = waiting_job()
        self.photo: SimpleNamespace | None = SimpleNamespace(stored_at=START)
        self.entered: list[dict[str, Any]] = []
        self.before_write: Callable[[], object] = tuple

    def move_on(self, job: Job, *events: Event) -> record.Change:
        self.before_write()
        self.job = apply_all(self.job, events, START) if self.job else None
        return record.Change(job, self.job)

    def enter(self, *_: object, **options: Any) -> None:
        self.entered.append({name: value for name, value in options.items() if value is not None})

    def end(self) -> None:
        assert self.job
        self.job = apply(self.job, Canceled(), START)

    def delete(self) -> None:
        self.job = None


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch, configured: None) -> World:
    world = World()
    monkeypatch.setattr(open_photo, "job_of", lambda *_: world.job)
    monkeypatch.setattr(record, "read", lambda _: world.job)
    monkeypatch.setattr(record, "move_on", world.move_on)
    monkeypatch.setattr(bucket, "look_at", lambda _: world.photo)
    monkeypatch.setattr(queues, "send_to_waiting", world.enter)
    monkeypatch.setattr(clock, "now", lambda: START)
    return world


# ── a photo behind many others ──


@pytest.mark.parametrize("again", [False, True])
def test_photo_enters_the_line_unopened_and_at_once(world: World, *, again: bool) -> None:
    assert wait_in_line.pass_on("j", KEY, again=again)
    assert world.job
    assert world.job.photo.uninspected
    assert world.entered == [{"again": again, "delay": 0}]


def test_photo_that_s3_lacks_does_not_enter_the_line(world: World) -> None:
    world.photo = None
    assert not wait_in_line.pass_on("j", KEY)
    assert world.entered == []


def test_opened_photo_need_not_wait_in_line_again(world: World) -> None:
    world.job = apply(waiting_job(), ARRIVED, START)
    assert not wait_in_line.pass_on("j", KEY, again=True)
    assert wait_in_line.pass_on("j", KEY)
    assert len(world.entered) == 1


@pytest.mark.parametrize("gone", [World.end, World.delete])
def test_job_that_is_gone_needs_nothing(world: World, gone: Any) -> None:
    gone(world)
    assert wait_in_line.pass_on("j", KEY)
    assert world.entered == []


@pytest.mark.parametrize("gone", [World.end, World.delete])
def test_job_that_ends_meanwhile_does_not_enter_the_line(world: World, gone: Any) -> None:
    world.before_write = lambda: gone(world)
    assert not wait_in_line.pass_on("j", KEY)
    assert world.entered == []


# ── the wait ──


def waiting(*seconds: float | None) -> Job:
    """Return a job whose images wait until so many seconds after START."""
    job = apply(waiting_job(len(seconds)), ARRIVED, START)
    images = [
        replace(image, not_before=None if wait is None else at(wait))
        for image, wait in zip(job.images, seconds, strict=True)
    ]
    return replace(job, images=tuple(images))


def refused(seconds: float) -> Pace:
    pace = Pace()
    pace.refused(START, seconds)
    return pace


def test_wait_is_until_the_first_image_may_be_requested() -> None:
    assert wait_in_line._seconds_to_wait(waiting(9, 7, 8), Pace()) == 7
    assert wait_in_line._seconds_to_wait(waiting(9, None), Pace()) == 0
    assert wait_in_line._seconds_to_wait(waiting(-5), Pace()) == 0
    longer = refused(20).seconds_to_wait(START)
    assert longer > 9
    assert wait_in_line._seconds_to_wait(waiting(9), refused(20)) == longer
    assert wait_in_line._seconds_to_wait(waiting(50), refused(20)) == 50


def test_job_that_needs_no_prediction_waits_for_nothing() -> None:
    assert wait_in_line._seconds_to_wait(waiting_job(), Pace()) is None
    ended = apply(waiting(0), Canceled(), START)
    assert wait_in_line._seconds_to_wait(ended, Pace()) is None


def test_job_that_waits_for_longer_than_a_turn_stays_outside() -> None:
    """A turn waits in place for 32 s."""
    assert wait_in_line._delay(waiting(32), Pace()) == 0
    assert wait_in_line._delay(waiting(32.6), Pace()) == 33
    assert wait_in_line._delay(waiting_job(), Pace()) == 0


def test_only_a_throttled_job_enters_the_line(world: World) -> None:
    needy, done = waiting(50), apply(waiting(50), Canceled(), START)
    for job, pace, enters in (
        (needy, refused(20), True),
        (needy, Pace(), False),
        (done, refused(20), False),
        (None, refused(20), False),
    ):
        world.entered.clear()
        assert wait_in_line.enter_if_throttled(job, pace) is enters
        assert world.entered == ([{"again": False, "delay": 50}] if enters else [])


def test_later_message_of_a_job_takes_its_place() -> None:
    job = waiting(0)
    assert not wait_in_line._is_replaced(job, None)
    again = replace(job, entered_again_at=at(10))
    assert wait_in_line._is_replaced(again, None)
    assert wait_in_line._is_replaced(again, at(9))
    assert not wait_in_line._is_replaced(again, at(10))


# ── a turn ──


def test_turn_that_finds_no_photo_to_open_comes_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another invocation opens it."""
    world.job = replace(waiting(0), photo=replace(waiting(0).photo, uninspected=True))
    monkeypatch.setattr(open_photo, "photo_arrived", lambda *_, **__: world.job)
    assert wait_in_line.take_turn("j", KEY, Pace(), again=False) == 0
    assert world.entered == [{"again": True, "delay": 20}]


@pytest.mark.parametrize("gone", [World.end, World.delete])
def test_turn_of_a_job_that_is_gone_ends(world: World, monkeypatch: pytest.MonkeyPatch, gone: Any) -> None:
    gone(world)
    monkeypatch.setattr(open_photo, "photo_arrived", lambda *_, **__: world.job)
    assert wait_in_line.take_turn("j", KEY, Pace(), again=False) == 0
    assert world.entered == []


@pytest.mark.parametrize("again", [False, True])
def test_turn_that_is_left_to_others_goes_back_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    world.job = waiting(0)
    logged: list[str] = []
    monkeypatch.setattr(wait_in_line, "_leaves_at_once", lambda _: True)
    monkeypatch.setattr(wait_in_line, "about_job", logged.append)
    rest = wait_in_line.take_turn("j", KEY, Pace(), again=again)
    assert 0 < rest <= 40
    assert world.entered == [{"again": again, "delay": 0}]
    assert logged == ["j"]


def beaten() -> Pace:
    """Return what a process knows whose turn at a slow limit another one took."""
    pace = refused(20)
    pace.refused(START, 20)
    assert pace.loses_the_turn(START)
    return pace


@pytest.mark.parametrize(("created", "leaves"), [(0, False), (3, True), (100, False), (None, False)])
def test_beaten_process_looks_whether_others_use_up_the_limit(
    monkeypatch: pytest.MonkeyPatch, created: int | None, *, leaves: bool
) -> None:
    since: list[datetime] = []

    def created_since(start: datetime) -> int:
        since.append(start)
        if created is None:
            raise ReplicateUnavailableError("HTTP 503")
        return created

    monkeypatch.setattr(listing, "created_since", created_since)
    assert wait_in_line._leaves_at_once(beaten()) is leaves
    assert since == [at(-30)]


def test_process_that_is_refused_before_its_turn_reads_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(listing, "created_since")
    pace = beaten()
    pace.refused(START, 20)
    assert wait_in_line._leaves_at_once(pace)
    assert not wait_in_line._leaves_at_once(Pace())


def test_doubt_is_settled_outside_the_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    doubtful = replace(waiting(0).images[0], status=ImageStatus.REQUESTING, in_doubt_until=at(30))
    world.job = replace(waiting(0), images=(doubtful,))
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(queues, "send_to_generation", lambda *_, **options: sent.append(options))
    monkeypatch.setattr(open_photo, "photo_arrived", lambda *_, **__: world.job)
    assert wait_in_line.take_turn("j", KEY, Pace(), again=False) == 0
    assert world.entered == []
    assert [one["again"] for one in sent] == [True]
    assert sent[0]["delay"] > 0

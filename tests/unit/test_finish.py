"""What a look of the watchdog does for a job that has not ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import pytest
from botocore.exceptions import BotoCoreError

from tests.support.jobs import START, at, job_of, waiting_job
from triptych import deadlines
from triptych.aws import bucket, queues
from triptych.failures import FailureKind
from triptych.flows import collect, finish, generate, record
from triptych.job import (
    Event,
    Image,
    ImageFailed,
    ImageStatus,
    Job,
    JobStatus,
    Output,
    OutputBroken,
    OutputStored,
    UploadArrived,
    apply,
    apply_all,
)
from triptych.replicate import predictions
from triptych.replicate.downloads import OutputBrokenError, OutputUnavailableError
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget

KEY = "uploads/j/photo.jpg"
CHOSEN = SimpleNamespace(upload_url_seconds=900, generation_deadline_seconds=1800, watchdog_delay_seconds=300)
UNOPENED = apply(waiting_job(1), UploadArrived(KEY, START, inspected=False), START)


def generating(index: int, asked: float | None = 0) -> Image:
    when = None if asked is None else at(asked)
    return Image(index, ImageStatus.GENERATING, attempt=1, prediction_id=f"p{index}", asked_at=when)


RUNNING = job_of(generating(0), generating(1), generating(2))


class World:
    """What the edges say, and what they are told."""

    def __init__(self) -> None:
        self.time = START
        self.seen: bucket.Look | Exception | None = None
        self.events: list[Event] = []
        self.stored: list[Event] = []
        self.entered: list[datetime] = []
        self.passed_on: list[bool] = []
        self.canceled: list[str] = []
        self.unexpected: list[dict[str, object]] = []  # what each alarm names
        self.advance: Callable[[Job], Job | None] = lambda job: job
        self.predictions: dict[str, object] = {}
        self.results: dict[int, Event | Exception | None] = {}
        self.change: Callable[[Job], Job | None] = lambda job: job

    def look_at(self, _: str) -> bucket.Look | None:
        if isinstance(self.seen, Exception):
            raise self.seen
        return self.seen

    def move_on(self, job: Job, *events: Event) -> record.Change:
        self.events += events
        return record.Change(job, self.change(apply_all(job, events, self.time)))

    def store(self, job: Job, *events: Event) -> record.Change:
        self.stored += events
        return record.Change(job, job)

    def get(self, prediction_id: str) -> object:
        found = self.predictions.get(prediction_id, "a prediction")
        if isinstance(found, Exception):
            raise found
        return found

    def result(self, _job: Job, tag: Tag, _prediction: object, _budget: object) -> Event | None:
        found = self.results.get(tag.image)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    for module in (deadlines, finish):
        monkeypatch.setattr(module, "settings", lambda: CHOSEN)
    monkeypatch.setattr(clock, "now", lambda: world.time)
    monkeypatch.setattr(bucket, "look_at", world.look_at)
    monkeypatch.setattr(record, "move_on", world.move_on)
    monkeypatch.setattr(collect, "store", world.store)
    monkeypatch.setattr(predictions, "cancel_all", world.canceled.extend)
    monkeypatch.setattr(predictions, "get", world.get)
    monkeypatch.setattr(collect, "result", world.result)
    monkeypatch.setattr(finish, "unexpected", lambda *_, **keys: world.unexpected.append(keys))
    monkeypatch.setattr(generate, "advance", lambda job, **_: world.advance(job))

    def enter(*_: object, entered_at: datetime) -> None:
        world.entered.append(entered_at)

    def pass_on(*_: object, again: bool) -> None:
        world.passed_on.append(again)

    monkeypatch.setattr(queues, "send_to_waiting", enter)
    monkeypatch.setattr(queues, "send_to_generation", pass_on)
    return world


def look(world: World, job: Job, seconds: float, *, fatal: bool = False) -> Job | None:
    world.time = at(seconds)
    return finish.finish(job, TimeBudget(60), fatal=fatal)


# ── in line ──


@pytest.mark.parametrize(
    ("entered", "seconds", "enters"),
    [
        (None, 299, False),
        (None, 300, True),
        (300, 599, False),
        (300, 600, True),
        (600, 1199, False),
        (600, 1200, True),
    ],
)
def test_job_in_line_enters_it_again_after_ever_longer_waits(
    world: World, entered: float | None, seconds: float, *, enters: bool
) -> None:
    job = replace(UNOPENED, entered_again_at=None if entered is None else at(entered))
    after = look(world, job, seconds)
    assert world.entered == ([at(seconds)] if enters else [])
    assert after
    assert after.entered_again_at == (at(seconds) if enters else job.entered_again_at)


def test_job_deleted_while_it_enters_the_line_needs_nothing(world: World) -> None:
    world.change = lambda _: None
    assert look(world, UNOPENED, 300) is None


def test_job_in_line_past_its_deadline_leaves_it(world: World) -> None:
    world.seen = bucket.Look(stored_at=START, size=1)
    after = look(world, UNOPENED, 1800)
    assert world.entered == []
    assert after
    assert after.status is JobStatus.FAILED


def test_opened_job_in_line_gets_the_results_of_its_predictions(world: World) -> None:
    waits = replace(RUNNING, images=(*RUNNING.images[:2], Image(2, not_before=at(5))))
    world.results = {0: OutputBroken(0, 1, "p0")}
    world.advance = lambda _: pytest.fail("its turn in the line creates its predictions")
    look(world, waits, 10)
    assert world.stored == [OutputBroken(0, 1, "p0")]


# ── without a photo ──


def test_upload_that_never_came_expires(world: World) -> None:
    for seconds, status in ((1499, JobStatus.AWAITING_UPLOAD), (1500, JobStatus.EXPIRED)):
        after = look(world, waiting_job(), seconds)
        assert after
        assert after.status is status


def test_photo_that_was_there_before_a_retry_has_not_expired(world: World) -> None:
    job = replace(UNOPENED, photo=replace(UNOPENED.photo, opens=1))  # so that it does not wait in line
    after = look(world, job, 1800)
    assert after
    assert (after.status, after.failure and after.failure.code) == (JobStatus.FAILED, "deadline_exceeded")


def test_silent_s3_is_asked_for_ten_minutes_more(world: World) -> None:
    world.seen = BotoCoreError()
    with pytest.raises(BotoCoreError):
        look(world, waiting_job(), 2099)
    assert world.unexpected == []
    after = look(world, waiting_job(), 2100)
    assert after
    assert after.status is JobStatus.FAILED
    assert len(world.unexpected) == 1


def test_photo_whose_event_was_lost_goes_on_until_the_deadline(world: World) -> None:
    world.seen = bucket.Look(stored_at=at(100), size=1)
    assert look(world, waiting_job(), 1899) == waiting_job()
    assert world.passed_on == [True]
    after = look(world, waiting_job(), 1900)
    assert after
    assert (after.status, after.photo.uninspected) == (JobStatus.FAILED, True)
    assert world.passed_on == [True]


# ── with predictions ──


def stored(index: int) -> OutputStored:
    return OutputStored(index, 1, f"p{index}", Output(f"outputs/j/{index}.png", "image/png", 1))


def test_look_before_the_deadline_stores_what_it_found(world: World) -> None:
    world.results = {0: stored(0), 2: None}
    assert look(world, RUNNING, 1799)
    assert (world.stored, world.events, world.canceled) == ([stored(0)], [], [])


def test_look_at_the_deadline_ends_all_that_runs(world: World) -> None:
    world.results = {0: stored(0), 1: ImageFailed(1, 1, "p1", FailureKind.OUTPUT_MISSING)}
    after = look(world, RUNNING, 1800)
    assert after
    assert after.status is JobStatus.PARTIAL
    assert world.canceled == ["p2"]


def test_broken_output_at_the_deadline_is_canceled_too(world: World) -> None:
    world.results = {0: OutputBroken(0, 1, "p0")}
    look(world, RUNNING, 1800)
    assert world.canceled == ["p0", "p1", "p2"]


def test_fatal_look_at_the_deadline_asks_nobody(world: World) -> None:
    world.advance = lambda _: pytest.fail("it would die once more")
    after = look(world, RUNNING, 1800, fatal=True)
    assert after
    assert after.status is JobStatus.FAILED
    assert world.canceled == ["p0", "p1", "p2"]


def test_fatal_look_before_the_deadline_is_as_any_other(world: World) -> None:
    world.results = {0: stored(0)}
    look(world, RUNNING, 1799, fatal=True)
    assert world.stored == [stored(0)]


@pytest.mark.parametrize("seconds", [10, 1800])
def test_job_that_is_deleted_meanwhile_needs_nothing(world: World, seconds: float) -> None:
    world.advance = lambda _: None
    assert look(world, RUNNING, seconds) is None
    assert (world.events, world.stored, world.canceled) == ([], [], [])


def test_retry_during_the_last_look_keeps_its_predictions(world: World) -> None:
    """It may have asked for the same ones."""
    world.change = lambda job: replace(job, retries=1)
    after = look(world, RUNNING, 1800)
    assert after
    assert after.retries == 1
    assert world.canceled == []


def test_job_that_is_deleted_at_its_deadline_leaves_nothing_running(world: World) -> None:
    world.change = lambda _: None
    assert look(world, RUNNING, 1800) is None
    assert world.canceled == ["p0", "p1", "p2"]


def test_only_predictions_from_before_the_look_are_asked_for(world: World) -> None:
    job = replace(RUNNING, images=(generating(0, 9.9), generating(1, 10), generating(2, None)))
    world.results = {index: stored(index) for index in range(3)}
    look(world, job, 10)
    assert world.stored == [stored(0), stored(2)]


def test_retry_meanwhile_is_left_to_its_own_looks(world: World) -> None:
    world.advance = lambda job: replace(job, retries=1)
    world.results = {0: stored(0)}
    look(world, RUNNING, 10)
    assert world.stored == []


def test_error_of_the_doubts_loses_no_result_at_the_deadline(world: World) -> None:
    def fail(_: Job) -> Job:
        raise LookupError

    world.advance = fail
    world.results = {0: stored(0)}
    with pytest.raises(LookupError):
        look(world, RUNNING, 1799)
    assert world.unexpected == []
    after = look(world, RUNNING, 1800)
    assert after
    assert after.status is JobStatus.PARTIAL
    assert len(world.unexpected) == 1


@pytest.mark.parametrize(
    ("watched", "since", "another"),
    [(40, 10, True), (40, 9.9, False), (600, 150, True), (600, 149.9, False), (3000, 150, True)],
)
def test_copy_of_a_look_is_told_from_another_look(
    world: World, watched: float, since: float, *, another: bool
) -> None:
    """Looks are half as far apart as the job is old, and no more than five minutes."""
    world.time = at(watched)
    for job in (RUNNING, replace(waiting_job(), created_at=START)):
        changed = replace(job, updated_at=at(watched - since))
        assert finish._is_another_look(changed) is another


# ── one result ──

ONE = replace(RUNNING, images=(generating(0),))
GONE = ImageFailed(0, 1, "p0", FailureKind.PREDICTION_LOST, 0)
MISSED = ImageFailed(0, 1, "p0", FailureKind.OUTPUT_UNAVAILABLE, 0)
BROKEN = OutputBroken(0, 1, "p0")


def result_at(
    world: World, seconds: float, *, last: bool = False, job: Job = ONE, budget: float = 60
) -> Event | None:
    world.time = at(seconds)
    return finish._result(job, job.images[0], TimeBudget(budget), last=last)


def test_unknown_prediction_is_lost_once_replicate_would_know_it(world: World) -> None:
    world.predictions = {"p0": None}
    assert result_at(world, 89.9) is None
    assert result_at(world, 90) == GONE
    assert result_at(world, 5, job=replace(ONE, images=(generating(0, None),))) == GONE


def test_result_is_not_fetched_without_time(world: World) -> None:
    world.results = {0: stored(0)}
    assert result_at(world, 10, budget=0) is None
    assert result_at(world, 10) == stored(0)


@pytest.mark.parametrize(
    ("error", "event", "at_last", "alarms"),
    [
        (OutputUnavailableError("HTTP 503"), None, MISSED, 0),
        (OutputBrokenError("truncated"), BROKEN, MISSED, 0),
        (ReplicateUnavailableError("HTTP 503"), None, None, 0),
        (LookupError(), None, None, 1),
    ],
)
def test_failure_of_one_image_is_its_own(
    world: World, error: Exception, event: Event | None, at_last: Event | None, alarms: int
) -> None:
    world.results = {0: error}
    assert result_at(world, 10) == event
    assert world.unexpected == [{"prediction_id": "p0"}] * alarms
    assert result_at(world, 10, last=True) == at_last


def test_broken_output_counts_once_for_two_copies_of_a_look(world: World) -> None:
    world.results = {0: OutputBrokenError("truncated")}
    job = replace(ONE, updated_at=at(95), images=(replace(generating(0), broken=1),))
    assert result_at(world, 100, job=job) is None
    assert result_at(world, 200, job=job) == BROKEN
    assert result_at(world, 96, job=replace(job, images=ONE.images)) == BROKEN  # the first one always counts

"""A photo that has arrived: whose it is, when its opening counts, and what is left if the job goes meanwhile."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.jobs import START, waiting_job
from triptych.aws import bucket
from triptych.failures import FailureKind
from triptych.flows import generate, open_photo, preview, record
from triptych.job import (
    Canceled,
    Event,
    Job,
    JobStatus,
    PhotoOpened,
    Preview,
    UploadArrived,
    apply,
    apply_all,
)
from triptych.pace import Pace
from triptych.photo import bounded, inspection
from triptych.runtime import clock

pytestmark = pytest.mark.usefixtures("configured")
JOB = replace(waiting_job(), job_id="0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52")
KEY = bucket.photo_key(JOB.job_id, "image/jpeg")
JOB = replace(JOB, photo=replace(JOB.photo, key=KEY))
READY = inspection.Ready()
SHOWN = Preview(3, 2, "#000000")


class World:
    """One stored job, its photo in S3, and what opening it finds."""

    def __init__(self) -> None:
        self.job: Job | None = JOB
        self.upload: Any = SimpleNamespace(file=io.BytesIO(b"photo"), stored_at=START)
        self.finding: Any = READY
        self.removed: list[object] = []
        self.advanced: list[tuple[Event, ...]] = []
        self.unexpected: list[str] = []
        self.before_write: Callable[[], object] = tuple
        self.after_advance: Callable[[], object] = tuple
        self.fails: list[Exception] = []
        self.slept: list[float] = []
        self.writes = 0

    def read(self, _: str) -> Job | None:
        return self.job

    def move_on(self, job: Job, *events: Event) -> record.Change:
        return self.update(job, lambda job: apply_all(job, events, START))

    def update(self, job: Job, rule: Callable[[Job], Job]) -> record.Change:
        self.writes += 1
        if self.fails:
            raise self.fails.pop()
        self.before_write()
        before, self.job = self.job, self.job and rule(self.job)
        del job
        return record.Change(before, self.job)

    @contextmanager
    def fetch(self, *_: object) -> Iterator[object]:
        yield self.upload

    def inspect(self, *_: object, **__: object) -> object:
        if isinstance(self.finding, Exception):
            raise self.finding
        return self.finding

    def advance(self, job: Job, *arrived: Event, meanwhile: Any = None, **_: object) -> Job | None:
        self.advanced.append(arrived)
        made = meanwhile() if meanwhile else ()
        self.job = self.job and apply_all(job, [*arrived, *made], START)
        self.after_advance()
        return self.job


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(clock, "now", lambda: START)
    monkeypatch.setattr(clock, "sleep", world.slept.append)
    monkeypatch.setattr(record, "read", world.read)
    monkeypatch.setattr(record, "move_on", world.move_on)
    monkeypatch.setattr(record, "update", world.update)
    monkeypatch.setattr(bucket, "fetch_photo", world.fetch)
    monkeypatch.setattr(bucket, "remove", world.removed.append)
    monkeypatch.setattr(bucket, "remove_made_of", lambda *keys: world.removed.append(keys))
    monkeypatch.setattr(bucket, "store_prepared", lambda job_id, _: bucket.prepared_key(job_id))
    monkeypatch.setattr(inspection, "inspect", world.inspect)
    monkeypatch.setattr(preview, "of_photo", lambda *_: SHOWN)
    monkeypatch.setattr(generate, "advance", world.advance)
    monkeypatch.setattr(open_photo, "unexpected", world.unexpected.append)
    return world


def arrive(*, key: str = KEY, again: bool = False) -> Job | None:
    return open_photo.photo_arrived(JOB.job_id, key, Pace(), again=again)


# ── whose photo it is ──


def test_photo_of_another_job_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(open_photo, "about_job", logged.append)
    other = bucket.photo_key(JOB.job_id.replace("0b7a", "1111"), "image/jpeg")
    png = bucket.photo_key(JOB.job_id, "image/png")
    assert arrive(key=other) is None
    assert arrive(key=png) is None  # it is where no upload of this job was allowed
    world.job = None
    assert arrive(key=other) is None
    assert (world.removed, world.writes, logged) == ([], 0, [JOB.job_id] * 3)


def test_photo_of_a_deleted_job_is_removed(world: World) -> None:
    world.job = None
    assert arrive() is None
    assert world.removed == [KEY]


def test_photo_of_an_ended_job_is_not_opened(world: World) -> None:
    world.job = ended = apply(JOB, Canceled(), START)
    assert arrive() is ended
    assert (world.writes, world.advanced) == (0, [])


def test_photo_that_is_gone_is_nothing_to_do(world: World) -> None:
    world.upload = None
    assert arrive() is None
    assert world.writes == 0


def test_opened_photo_is_not_opened_again(world: World) -> None:
    world.job = apply(JOB, UploadArrived(KEY, START), START)
    world.finding = AssertionError()
    assert arrive() == world.job
    assert world.advanced == [()]


# ── opening it ──


def test_good_photo_gets_its_predictions_and_its_preview(world: World) -> None:
    after = arrive()
    assert after
    assert (after.has_photo, after.photo.preview) == (True, SHOWN)
    assert world.writes == 1  # of the preview, which was there already


def test_prepared_copy_is_what_the_model_is_given(world: World) -> None:
    world.finding = inspection.Prepared(jpeg=b"jpeg", width=3, height=2)
    after = arrive()
    assert after
    assert after.photo.model_key == bucket.prepared_key(JOB.job_id)


@pytest.mark.parametrize("again", [False, True])
def test_bad_photo_ends_the_job(world: World, *, again: bool) -> None:
    world.finding = inspection.Rejected(FailureKind.PHOTO_TOO_LARGE)
    after = arrive(again=again)
    assert after
    assert after.status is JobStatus.FAILED
    world.job, world.upload = JOB, SimpleNamespace(file=None, stored_at=START)
    again_after = arrive(again=again)
    assert again_after
    assert again_after.error == after.error


def test_photo_that_another_invocation_accepted_is_not_rejected(world: World) -> None:
    world.finding = inspection.Rejected(FailureKind.PHOTO_TOO_LARGE)

    def accept() -> None:
        world.job = apply(JOB, UploadArrived(KEY, START), START)

    world.before_write = accept
    after = arrive()
    assert after
    assert after.status is JobStatus.GENERATING


# ── tries that count ──


def test_first_try_is_not_counted(world: World) -> None:
    world.finding = LookupError()
    with pytest.raises(LookupError):
        open_photo.photo_arrived(JOB.job_id, KEY, Pace())
    assert (world.job, world.writes) == (JOB, 0)


def test_try_is_over_once_its_function_must_have_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fraction of a second marks the try."""
    monkeypatch.setattr(secrets, "randbelow", lambda most: most - 1)
    world.finding = bounded.StuckError()
    with pytest.raises(bounded.StuckError):
        arrive(again=True)
    assert world.job
    assert world.job.photo.opening_until == START + timedelta(seconds=69, microseconds=1)


def test_second_try_counts_until_it_ends(world: World) -> None:
    seen: list[int] = []
    world.before_write = lambda: seen.append(world.job.photo.opens if world.job else -1)
    after = arrive(again=True)
    assert after
    assert (seen[:2], after.photo.opens) == ([0, 1], 0)


def test_own_error_does_not_count_as_a_death(world: World) -> None:
    world.finding = LookupError()
    with pytest.raises(LookupError):
        arrive(again=True)
    assert world.job
    assert (world.job.photo.opens, world.slept) == (0, [])


def test_photo_that_hangs_counts(world: World) -> None:
    world.finding = bounded.StuckError()
    with pytest.raises(bounded.StuckError):
        arrive(again=True)
    assert world.job
    assert world.job.photo.opens == 1


def test_try_is_taken_back_though_dynamodb_fails_for_a_while(world: World) -> None:
    until = START + timedelta(seconds=70)
    world.job = apply(JOB, PhotoOpened(START, until, START), START)
    world.fails = [ConnectionError(), ConnectionError()]
    open_photo._leave(JOB.job_id, until)
    assert world.job
    assert (world.job.photo.opens, world.slept, world.unexpected) == (0, [1, 1], [])


def test_try_that_cannot_be_taken_back_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_photo, "LEAVING_SECONDS", 0)
    world.fails = [ConnectionError(), ConnectionError()]
    open_photo._leave(JOB.job_id, START)
    assert (len(world.unexpected), world.slept, world.writes) == (1, [], 1)


@pytest.mark.parametrize("opener", ["another", "own"])
def test_photo_is_opened_by_one_invocation(world: World, opener: str) -> None:
    if opener == "another":
        until = START + timedelta(seconds=60)
        world.job = apply(JOB, PhotoOpened(START, until, START), START)
    after = arrive(again=True)
    assert after
    assert after.has_photo is (opener == "own")


def test_opening_again_ends_with_a_deleted_or_ended_job(world: World) -> None:
    def end() -> None:
        world.job = world.job and apply(world.job, Canceled(), START)

    world.before_write = end
    after = arrive(again=True)
    assert after
    assert (after.status, world.advanced) == (JobStatus.CANCELED, [])

    def delete() -> None:
        world.job = None

    world.job, world.before_write = JOB, delete
    assert arrive(again=True) is None
    assert world.removed == []


# ── a job that goes meanwhile ──


@pytest.mark.parametrize("prepared", [False, True])
def test_job_deleted_while_its_photo_is_opened_leaves_no_copy(world: World, *, prepared: bool) -> None:
    world.finding = inspection.Prepared(jpeg=b"jpeg", width=3, height=2) if prepared else READY

    def delete_at_the_second_write() -> None:
        if world.writes == 2:
            world.job = None

    world.before_write = delete_at_the_second_write
    assert arrive(again=True) is None
    assert world.removed == [(KEY, bucket.prepared_key(JOB.job_id) if prepared else None)]
    assert world.advanced == []


def test_job_that_is_deleted_with_its_predictions_leaves_no_copy(world: World) -> None:
    world.finding = inspection.Prepared(jpeg=b"jpeg", width=3, height=2)

    def delete() -> None:
        world.job = None

    world.after_advance = delete
    assert arrive() is None
    assert world.removed == [(KEY, bucket.prepared_key(JOB.job_id))]


def test_job_that_ended_gets_no_preview_any_more(world: World) -> None:
    def end() -> None:
        world.job = world.job and apply(world.job, Canceled(), START)

    world.after_advance = end
    after = arrive()
    assert after
    assert (after.status, world.writes) == (JobStatus.CANCELED, 0)

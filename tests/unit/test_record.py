"""Moving a job on: read, apply, write, count, and remove orphaned outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.simulation.aws import Jobs
from tests.support.jobs import START, waiting_job
from triptych.aws import bucket, counts, table
from triptych.flows import costs, record
from triptych.job import (
    Asked,
    Canceled,
    Job,
    JobStatus,
    Output,
    OutputStored,
    UploadArrived,
    apply,
)
from triptych.runtime import clock
from triptych.runtime.observability import logger
from triptych.spending import Order

NO_LIMIT = Order(owner="ann", entry="e", day=START.date(), pictures=1)
ARRIVED = UploadArrived("uploads/j/photo.jpg", START)


@dataclass
class Store:
    """The table in memory, and what `record` counted and removed."""

    jobs: Jobs = field(default_factory=Jobs)
    counted: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    for function in (store.jobs.get, store.jobs.put, store.jobs.delete):
        monkeypatch.setattr(table, function.__name__, function)
    monkeypatch.setattr(counts, "create", store.jobs.create)
    monkeypatch.setattr(counts, "put", store.jobs.put)
    monkeypatch.setattr(record, "count", lambda name, _value=1: store.counted.append(name))
    monkeypatch.setattr(costs, "count_cost", lambda _: None)
    monkeypatch.setattr(bucket, "remove", store.removed.append)
    monkeypatch.setattr(clock, "now", lambda: START)
    return store


def stored_job(store: Store) -> Job:
    return store.jobs.create(waiting_job(images=1), NO_LIMIT)


def asked_job(store: Store) -> Job:
    asked = Asked(0, 1, START, START + timedelta(seconds=90))
    job = record.move_on(stored_job(store), ARRIVED, asked).job
    assert job
    store.counted.clear()
    return job


def output(key: str = "outputs/j/0.png") -> OutputStored:
    return OutputStored(0, 1, "p0", Output(key, "image/png", 100))


def test_a_change_is_stored_and_counted_once(store: Store) -> None:
    job = asked_job(store)
    change = record.move_on(job, output())
    assert change.written
    assert change.job == store.jobs.get("j")
    assert store.counted.count("JobsSucceeded") == 1
    again = record.move_on(job, output())
    assert (again.written, again.job) == (False, change.job)
    assert store.counted.count("JobsSucceeded") == 1


def test_an_event_that_does_not_apply_writes_nothing(store: Store) -> None:
    job = asked_job(store)
    change = record.move_on(job, ARRIVED)
    assert (change.written, change.job) == (False, job)
    stored = store.jobs.get("j")
    assert stored
    assert stored.version == job.version
    assert store.counted == []


def test_a_lost_race_reads_and_applies_again(store: Store) -> None:
    stale = stored_job(store)
    record.move_on(stale, ARRIVED)
    change = record.move_on(stale, Canceled())
    assert change.written
    assert change.job
    assert (change.job.status, change.job.uploaded_at) == (JobStatus.CANCELED, START)


def test_the_rule_is_applied_once_for_each_write(store: Store) -> None:
    stale = stored_job(store)
    record.move_on(stale, ARRIVED)
    seen: list[int | None] = []

    def rule(job: Job) -> Job:
        seen.append(job.version)
        return apply(job, Canceled(), START)

    assert record.update(stale, rule).written
    assert seen == [1, 2]  # the stale job, then the one that was read again


def test_lost_races_raise_a_conflict_after_their_limit(store: Store) -> None:
    stale = stored_job(store)

    def overtaken(job: Job) -> Job:
        store.jobs.put(job)
        return apply(job, Canceled(), START)

    with pytest.raises(table.ConflictError):
        record.update(stale, overtaken, races=3)
    stored = store.jobs.get("j")
    assert stored
    assert stored.version == 4
    assert store.counted == []


def test_a_deleted_job_is_not_written_again(store: Store) -> None:
    job = asked_job(store)
    store.jobs.delete(job)
    change = record.move_on(job, output())
    assert (change.written, change.job) == (False, None)
    assert store.jobs.get("j") is None


def test_output_of_a_canceled_job_is_removed(store: Store) -> None:
    job = asked_job(store)
    record.move_on(job, Canceled())
    record.move_on(job, output())
    assert store.removed == ["outputs/j/0.png"]


def test_redelivered_output_is_kept(store: Store) -> None:
    job = asked_job(store)
    for _ in range(2):
        record.move_on(job, output())
    assert store.removed == []


def test_an_output_under_another_key_is_removed(store: Store) -> None:
    job = asked_job(store)
    record.move_on(job, output())
    record.move_on(job, output("outputs/j/0.webp"))
    assert store.removed == ["outputs/j/0.webp"]


def test_an_output_of_a_deleted_job_is_removed(store: Store) -> None:
    job = asked_job(store)
    store.jobs.delete(job)
    record.move_on(job, output())
    assert store.removed == ["outputs/j/0.png"]


def test_order_is_counted_with_its_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = stored_job(store)
    assert store.counted == []
    monkeypatch.delattr(table, "put")
    assert record.move_on(job, ARRIVED, order=NO_LIMIT).written


def test_new_job_is_counted(store: Store) -> None:
    job = record.create(waiting_job(images=1), NO_LIMIT)
    assert (job, store.counted) == (waiting_job(images=1), ["JobsCreated"])
    assert job.version == 1


def test_end_is_logged_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, object]] = []
    monkeypatch.setattr(logger, "info", lambda message, **keys: logged.append((message, keys.get("status"))))
    job = record.move_on(stored_job(store), ARRIVED).job
    assert job
    assert logged == []
    record.move_on(job, Canceled())
    assert logged == [("job ended", JobStatus.CANCELED)]

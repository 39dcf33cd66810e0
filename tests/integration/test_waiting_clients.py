"""Clients that wait for a change of their job, and what they are told of how long it may take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from pynamodb.exceptions import UpdateError

import announce
import api
from tests.integration.generating import deliver
from tests.support.events import CONTEXT, api_event, stream_event
from tests.support.world import World
from triptych.aws import durations, event_bus, seats, table
from triptych.flows import record
from triptych.flows.wait_for_change import wait_for_change
from triptych.job import Job, JobStatus, Output, OutputStored, UploadExpired
from triptych.runtime import clock
from triptych.settings import settings


@pytest.fixture(autouse=True)
def quiet_bus(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_bus, "announce", lambda _job: None)


def get(job_id: str, query: str = "", **headers: str) -> tuple[int, Any, dict[str, str]]:
    answer: Any = api.handler(api_event("GET", f"/api/v1/jobs/{job_id}{query}", **headers), CONTEXT)
    body = answer["body"]
    return answer["statusCode"], json.loads(body) if body else None, answer["headers"]


def seats_taken() -> int:
    items = boto3.client("dynamodb").scan(TableName="jobs")["Items"]
    keys = [item["job_id"]["S"] for item in items if item.get("until", {"N": "0"})["N"] != "0"]
    return sum(key.startswith("seat ") and not key.startswith("seat of ") for key in keys)


def during_the_wait(
    world: World, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object], at: float
) -> None:
    """Have `do` happen once a waiting client has slept `at` seconds."""
    sleep, pending = world.clock.sleep, [do]

    def slept(seconds: float) -> None:
        sleep(seconds)
        if pending and sum(world.clock.slept) >= at:
            pending.pop()()

    monkeypatch.setattr("triptych.runtime.clock.sleep", slept)


# ── waiting ──


def test_answer_comes_as_soon_as_the_job_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = world.new_job(photo=None)
    during_the_wait(world, monkeypatch, lambda: record.move_on(world.job(job_id), UploadExpired()), 3)
    status, job, _ = get(job_id, "?wait=20")
    assert (status, job["status"]) == (200, "EXPIRED")
    assert sum(world.clock.slept) == 3


def test_answer_comes_when_the_seconds_are_over(world: World) -> None:
    job_id = world.new_job(photo=None)
    status, job, headers = get(job_id, "?wait=7")
    assert (status, job["status"], headers["Retry-After"]) == (200, "AWAITING_UPLOAD", "2")
    assert sum(world.clock.slept) == 7
    assert seats_taken() == 0


def test_slow_reads_shorten_the_sleep_before_the_last_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job(photo=None)
    read = record.read

    def slowly(name: str) -> Job | None:
        world.clock.advance(0.3)
        return read(name)

    monkeypatch.setattr(record, "read", slowly)
    monkeypatch.setattr(clock, "monotonic", lambda: world.clock.now().timestamp())
    assert get(job_id, "?wait=1")[0] == 200
    assert world.clock.slept[-2:] == pytest.approx([0.5, 0.2], abs=0.001)


def test_unchanged_job_is_not_sent_again_after_the_wait(world: World) -> None:
    world.clock.time = world.clock.time.replace(
        minute=0, second=0
    )  # no presigned URL is renewed within the wait
    job_id = world.new_job(photo=None)
    etag = get(job_id)[2]["ETag"]
    assert get(job_id, "?wait=5", if_none_match=etag)[0] == 304
    assert sum(world.clock.slept) == 5


def test_older_view_is_answered_at_once(world: World) -> None:
    job_id = world.new_job(photo=None)
    assert get(job_id, "?wait=20", if_none_match='"7-0"')[0] == 200
    assert sum(world.clock.slept) == 0


def test_ended_job_is_answered_at_once(world: World) -> None:
    job_id = world.new_job(photo=None)
    record.move_on(world.job(job_id), UploadExpired())
    assert get(job_id, "?wait=20")[1]["status"] == "EXPIRED"
    assert sum(world.clock.slept) == 0


def test_deletion_ends_a_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = world.new_job(photo=None)
    during_the_wait(world, monkeypatch, lambda: world.expire(job_id), 1)
    assert get(job_id, "?wait=20")[0] == 404
    assert seats_taken() == 0


def test_another_owners_job_is_not_waited_for(world: World) -> None:
    job_id = world.new_job(owner="bob", photo=None)
    assert get(job_id, "?wait=20")[0] == 404
    assert sum(world.clock.slept) == 0


def test_client_that_does_not_wait_takes_no_seat(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(seats, "seat")
    job = world.job(world.new_job(photo=None))
    assert wait_for_change(job, 0) is job


def test_seat_is_held_for_a_step_longer_than_the_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[float] = []

    @contextmanager
    def seat(_: str, seconds: float) -> Iterator[bool]:
        held.append(seconds)
        yield True

    monkeypatch.setattr(seats, "seat", seat)
    job = world.job(world.new_job(photo=None))
    wait_for_change(job, 2)
    assert (held, sum(world.clock.slept)) == ([2.5], 2)


def test_only_so_many_clients_wait(world: World) -> None:
    job_id = world.new_job(photo=None)
    with seats.seat("bob", 20) as first, seats.seat("cy", 20) as second:
        assert (first, second) == (True, True)
        assert seats_taken() == settings().waiting_clients == 2
        assert get(job_id, "?wait=20")[0] == 200
        assert sum(world.clock.slept) == 0
    assert get(job_id, "?wait=5")[0] == 200
    assert sum(world.clock.slept) == 5


def test_one_owner_gets_half_of_the_seats(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, most in ((1, 1), (2, 1), (3, 1), (4, 2)):
        monkeypatch.setenv("WAITING_CLIENTS", str(number))
        settings.cache_clear()
        with ExitStack() as held:
            bobs = [held.enter_context(seats.seat("bob", 20)) for _ in range(5)]
            assert (sum(bobs), seats_taken()) == (most, most)
            assert held.enter_context(seats.seat("ann", 20)) is (number > most)
        assert seats_taken() == 0


def test_items_of_seats_expire(world: World) -> None:
    with seats.seat("ann", 20):
        items = boto3.client("dynamodb").scan(TableName="jobs")["Items"]
    days = [(int(item["expires_at"]["N"]) - world.clock.time.timestamp()) / 86_400 for item in items]
    assert days == [pytest.approx(1, abs=0.01)] * 2
    assert "ann" not in str(items)


def test_seat_of_a_dead_process_becomes_free(world: World) -> None:
    with seats.seat("ann", 20), seats.seat("bob", 20):
        world.clock.advance(20.1)
        with seats.seat("ann", 20) as seated:
            assert seated
            taken = seats_taken()
    assert (taken, seats_taken()) == (2, 0)


def test_nobody_waits_without_seats(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITING_CLIENTS", "0")
    settings.cache_clear()
    assert get(world.new_job(photo=None), "?wait=20")[0] == 200
    assert sum(world.clock.slept) == 0


def test_wait_without_an_answer_of_dynamodb_ends_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job(photo=None)

    def refuse(*_: object, **__: object) -> None:
        raise UpdateError("throttled")

    monkeypatch.setattr(table.connection(), "update_item", refuse)
    assert get(job_id, "?wait=20")[0] == 200
    assert sum(world.clock.slept) == 0


def test_seat_that_cannot_be_left_expires(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = world.new_job(photo=None)
    update, calls = table.connection().update_item, []

    def fail_later(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) > 2:  # the owner's seat and the stack's
            raise UpdateError("no answer")
        return update(*args, **kwargs)

    monkeypatch.setattr(table.connection(), "update_item", fail_later)
    assert get(job_id, "?wait=2")[0] == 200
    assert (len(calls), seats_taken()) == (4, 1)


@pytest.mark.parametrize("query", ["?wait=21", "?wait=-1", "?wait=soon", "?wait=", "?waits=3"])
def test_bad_wait_is_refused(world: World, query: str) -> None:
    status, answer, _ = get(world.new_job(photo=None), query)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


def test_lists_and_orders_take_no_wait(world: World, call: Any) -> None:
    assert call("GET", "/api/v1/jobs?wait=3")[0] == 400
    assert call("POST", "/api/v1/jobs?wait=3", {})[0] == 400


# ── estimates ──


def succeed(world: World, context: SimpleNamespace, seconds: float) -> Job:
    """Have a job succeed `seconds` after its upload, and announce it."""
    job_id = world.new_job()
    deliver(world, job_id, context)
    world.clock.advance(seconds)
    for image in world.job(job_id).images:
        output = Output(f"outputs/{job_id}/{image.index}.png", "image/png", 77)
        stored = OutputStored(image.index, image.attempt, str(image.prediction_id), output)
        record.move_on(world.job(job_id), stored)
    announce.handler(stream_event(world.item(job_id)), context)
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    return world.job(job_id)


def kept(model: str = "black-forest-labs/flux-kontext-pro") -> list[float]:
    key = {"job_id": {"S": f"durations {model}"}}
    item = boto3.client("dynamodb").get_item(TableName="jobs", Key=key).get("Item", {})
    return sorted(float(value["N"]) for name, value in item.items() if name.startswith("place_"))


def new_process() -> None:
    durations._process.cache_clear()


def running(world: World, context: SimpleNamespace) -> dict[str, Any]:
    job_id = world.new_job()
    deliver(world, job_id, context)
    return dict(get(job_id)[1])


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill the places in order, in place of a random one."""
    numbers = iter(range(50))
    monkeypatch.setattr("triptych.aws.durations.random.randrange", lambda _: next(numbers))


@pytest.mark.usefixtures("places")
def test_running_job_says_how_long_recent_ones_took(world: World, context: SimpleNamespace) -> None:
    took: list[float] = []
    for seconds in (12, 9, 31):
        assert running(world, context)["progress"] == {"typical_seconds": None, "slow_seconds": None}
        job = succeed(world, context, seconds)
        assert job.started_at
        assert job.ended_at
        took.append(round((job.ended_at - job.started_at).total_seconds(), 1))
        new_process()
    assert kept() == sorted(took)
    _, typical, slow = sorted(took)
    assert running(world, context)["progress"] == {"typical_seconds": typical, "slow_seconds": slow}


def test_job_that_does_not_run_has_no_progress(world: World, context: SimpleNamespace) -> None:
    assert get(world.new_job(photo=None))[1]["progress"] is None
    assert get(succeed(world, context, 9).job_id)[1]["progress"] is None


@pytest.mark.usefixtures("places")
def test_crowd_costs_one_write_for_a_while(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durations, "WRITE_SECONDS", 3600)  # this test may take longer than the ten seconds
    for _ in range(4):
        succeed(world, context, 9)
    assert len(kept()) == 1


@pytest.mark.usefixtures("places")
def test_failed_jobs_say_nothing_of_the_duration(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job(photo=None)
    record.move_on(world.job(job_id), UploadExpired())
    announce.handler(stream_event(world.item(job_id)), context)
    assert kept() == []


def test_lost_estimate_loses_no_announcement(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UpdateError("throttled")

    announced: list[Job] = []
    monkeypatch.setattr(event_bus, "announce", announced.append)
    monkeypatch.setattr(table.connection(), "update_item", refuse)
    job = succeed(world, context, 9)
    assert [one.job_id for one in announced] == [job.job_id]


def test_old_places_expire(world: World, context: SimpleNamespace) -> None:
    succeed(world, context, 9)
    key = {"job_id": {"S": "durations black-forest-labs/flux-kontext-pro"}}
    item = boto3.client("dynamodb").get_item(TableName="jobs", Key=key)["Item"]
    left = int(item["expires_at"]["N"]) - world.clock.time.timestamp()
    assert timedelta(days=89) <= timedelta(seconds=left) <= timedelta(days=90)

"""Jobs wait in line for Replicate's rate limit, and behind many other photos."""

from __future__ import annotations

import json
import random
import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import generate
from tests.integration.generating import DONE, KEPT, deliver
from tests.integration.looking import look
from tests.support.events import s3_notification, sqs_event
from tests.support.world import World
from triptych.aws import queues, table
from triptych.flows import owner, record, wait_in_line
from triptych.job import ImageStatus, Job, JobStatus, PhotoOpened
from triptych.pace import Pace
from triptych.runtime import clock
from triptych.settings import settings

DETAIL = {"detail": "Request was throttled."}
PHOTO = "uploads/{}/photo.jpg"
CROWD = wait_in_line.CROWD_SECONDS + 1
FUNCTION_SECONDS = 50  # the timeout of `generate`
MOST_SLEEP = FUNCTION_SECONDS - 13  # a round of requests follows


@pytest.fixture(autouse=True)
def _virtual(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "monotonic", lambda: world.clock.now().timestamp())


def waiting(world: World) -> list[dict[str, Any]]:
    """Receive the messages of the waiting queue: body, group and delay."""
    answer = world.sqs.receive_message(
        QueueUrl=world.queues["waiting"], MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    )
    found = []
    for message in answer.get("Messages", []):
        world.sqs.delete_message(QueueUrl=world.queues["waiting"], ReceiptHandle=message["ReceiptHandle"])
        found.append({**json.loads(message["Body"]), "group": message["Attributes"]["MessageGroupId"]})
    return found


def turn(job_id: str, context: SimpleNamespace, receives: int = 1) -> dict[str, Any]:
    """Deliver the job's message of the waiting queue."""
    body = {"job_id": job_id, "original_s3_key": PHOTO.format(job_id)}
    return dict(generate.handler(sqs_event(body, queue="waiting", receives=receives), context))


def throttle(*_: object) -> httpx.Response:
    return httpx.Response(429, json={**DETAIL, "retry_after": 7})


def statuses(world: World, job_id: str) -> set[ImageStatus]:
    return {image.status for image in world.job(job_id).images}


def test_throttled_job_enters_its_owners_line(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = throttle
    jobs = [world.new_job(owner=owner) for owner in ("ann", "ann", "bob")]
    for job_id in jobs:
        assert deliver(world, job_id, context) == DONE
    messages = waiting(world)
    assert [message["job_id"] for message in messages] == jobs
    ann, again, bob = [message["group"] for message in messages]
    assert ann == again != bob
    assert "ann" not in ann
    assert len(world.replicate.creates) == 3  # the process knew about the limit when the other jobs came
    assert world.job(jobs[1]).status is JobStatus.GENERATING


def test_turn_waits_in_place_and_asks_for_every_image(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = throttle
    job_id = world.new_job()
    deliver(world, job_id, context)
    world.replicate.before_create = lambda _: None
    assert turn(job_id, context) == DONE
    assert statuses(world, job_id) == {ImageStatus.GENERATING}
    assert len(world.replicate.creates) == 6
    assert 7 <= sum(world.clock.slept) <= MOST_SLEEP
    assert len(waiting(world)) == 1  # the first one


def test_turn_that_would_take_too_long_goes_back_in_line(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = throttle
    job_id = world.new_job()
    deliver(world, job_id, context)
    waiting(world)
    assert turn(job_id, context) == DONE
    assert sum(world.clock.slept) < FUNCTION_SECONDS
    (message,) = waiting(world)
    assert message["job_id"] == job_id
    assert statuses(world, job_id) == {ImageStatus.PENDING}


@pytest.mark.parametrize("named", [1, 45])
def test_turn_sleeps_no_longer_than_its_function_lives(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, named: int
) -> None:
    monkeypatch.setattr(Pace, "loses_the_turn", lambda *_: False)
    world.replicate.before_create = lambda _: httpx.Response(429, json={**DETAIL, "retry_after": named})
    job_id = world.new_job()
    deliver(world, job_id, context)
    waiting(world)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(queues._sqs(), "send_message", lambda **request: sent.append(request))
    assert turn(job_id, context) == DONE
    assert sum(world.clock.slept) <= MOST_SLEEP
    assert [json.loads(message["MessageBody"])["job_id"] for message in sent] == [job_id]


def test_message_is_deleted_before_its_process_rests(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS counts the time until then as time that the owner uses."""
    done: list[str] = []
    job_id = world.new_job()
    monkeypatch.setattr(wait_in_line, "take_turn", lambda *_, **__: 40.0)
    monkeypatch.setattr(queues, "remove_from_waiting", done.append)
    monkeypatch.setattr(clock, "sleep", lambda _: done.append("rest"))
    assert turn(job_id, context) == DONE
    assert done == ["receipt", "rest"]


def test_process_that_others_beat_at_a_slow_limit_rests(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = throttle
    jobs = [world.new_job() for _ in range(4)]
    for job_id in jobs:
        turn(job_id, context)
    assert max(world.clock.slept) > wait_in_line.REST_SECONDS / 2
    asked = len(world.replicate.creates)
    world.replicate.add("another", {}, world.clock.time)
    turn(jobs[0], context)
    assert len(world.replicate.creates) == asked  # it leaves the turn to the others


@pytest.mark.parametrize("list_fails", [False, True])
def test_beaten_process_tries_again_if_nobody_is_seen_to_win(
    world: World, context: SimpleNamespace, *, list_fails: bool
) -> None:
    world.replicate.before_create = throttle
    jobs = [world.new_job() for _ in range(4)]
    for job_id in jobs:
        turn(job_id, context)
    world.replicate.before_create = lambda _: None
    if list_fails:
        world.replicate.on_read = lambda _: httpx.Response(503)
    turn(jobs[0], context)
    assert statuses(world, jobs[0]) == {ImageStatus.GENERATING}


def test_wish_of_a_day_keeps_no_job_in_line(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = lambda _: httpx.Response(429, headers={"retry-after": "86400"})
    job_id = world.new_job()
    deliver(world, job_id, context)
    world.clock.advance(300)
    world.replicate.before_create = lambda _: None
    assert turn(job_id, context) == DONE
    assert statuses(world, job_id) == {ImageStatus.GENERATING}


def test_low_credit_wastes_few_requests(world: World, context: SimpleNamespace) -> None:
    last = world.clock.time.replace(year=2000)
    lock = threading.Lock()

    def six_a_minute(_: httpx.Request) -> httpx.Response | None:
        nonlocal last
        with lock:
            if world.clock.time - last >= timedelta(seconds=10):
                last = world.clock.time
                return None
        return httpx.Response(429, json={**DETAIL, "retry_after": 10})

    world.replicate.before_create = six_a_minute
    jobs = [world.new_job() for _ in range(6)]
    for job_id in jobs:
        turn(job_id, context)
        while ImageStatus.PENDING in statuses(world, job_id):
            turn(job_id, context)
    assert len(world.replicate.predictions) == 18
    assert len(world.replicate.creates) <= 1.4 * 18


def test_photo_behind_many_others_waits_in_line_unopened(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    event = sqs_event(s3_notification(job_id), waited=CROWD)
    assert generate.handler(event, context) == DONE
    job = world.job(job_id)
    assert job.status is JobStatus.GENERATING
    assert not job.has_photo
    assert not world.replicate.creates
    (message,) = waiting(world)
    assert turn(message["job_id"], context) == DONE
    assert statuses(world, job_id) == {ImageStatus.GENERATING}


def test_photo_that_waits_behind_others_may_be_rubbish(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job(photo=b"no photo")
    assert generate.handler(sqs_event(s3_notification(job_id), waited=CROWD), context) == DONE
    assert turn(job_id, context) == DONE
    assert world.job(job_id).status is JobStatus.FAILED


@pytest.mark.parametrize("gone", ["job", "photo"])
def test_nothing_enters_the_line_for_what_is_gone(world: World, context: SimpleNamespace, gone: str) -> None:
    job_id = world.new_job(photo=None) if gone == "photo" else "0e9f2d39-0000-4000-8000-000000000000"
    assert generate.handler(sqs_event(s3_notification(job_id), waited=CROWD), context) == DONE
    assert waiting(world) == []


@pytest.mark.parametrize("end", ["delete", "cancel"])
def test_crowded_photo_of_an_ended_job_costs_one_read(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    job_id = world.new_job()
    job = world.job(job_id)
    if end == "cancel":
        owner.cancel(job)
    else:
        table.delete(job)
    reads: list[str] = []
    read = record.read

    def counted(job_id: str) -> Job | None:
        reads.append(job_id)
        return read(job_id)

    monkeypatch.setattr(record, "read", counted)
    assert generate.handler(sqs_event(s3_notification(job_id), waited=CROWD), context) == DONE
    assert reads == [job_id]
    left = world.object_keys(f"uploads/{job_id}/")
    assert left == ([] if end == "delete" else [job.photo.key])


def test_delivered_again_a_photo_is_opened_at_once(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    event = sqs_event(s3_notification(job_id), waited=CROWD, receives=2)
    assert generate.handler(event, context) == DONE
    assert statuses(world, job_id) == {ImageStatus.GENERATING}


def test_photo_that_the_watchdog_found_waits_in_line_too(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    message = {"job_id": job_id, "original_s3_key": PHOTO.format(job_id), "again": True}
    assert generate.handler(sqs_event(message, waited=CROWD), context) == DONE
    assert not world.job(job_id).has_photo
    (passed_on,) = waiting(world)
    assert passed_on["again"]  # something may have killed the function that opened it
    assert turn(job_id, context) == DONE
    assert statuses(world, job_id) == {ImageStatus.GENERATING}


def test_delayed_doubt_of_an_opened_photo_stays_outside_the_line(
    world: World, context: SimpleNamespace
) -> None:
    world.replicate.before_create = lambda _: httpx.Response(503)
    job_id = world.new_job()
    deliver(world, job_id, context)
    assert statuses(world, job_id) == {ImageStatus.REQUESTING}
    message = {"job_id": job_id, "original_s3_key": PHOTO.format(job_id), "again": True}
    generate.handler(sqs_event(message, waited=CROWD), context)
    assert waiting(world) == []


def test_doubt_of_a_turn_is_settled_outside_the_line(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[tuple[str, str], bool, int]] = []
    monkeypatch.setattr(
        queues, "send_to_generation", lambda *task, again, delay: sent.append((task, again, delay))
    )
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    world.replicate.before_create = throttle
    job_id = world.new_job()
    deliver(world, job_id, context)
    waiting(world)
    world.replicate.before_create = lambda _: httpx.Response(503)
    assert turn(job_id, context) == DONE
    assert statuses(world, job_id) == {ImageStatus.REQUESTING}
    # `again`: it does not enter the line once more. The list is read after one step of the back-off, as after a first try.
    assert sent == [((job_id, PHOTO.format(job_id)), True, 3)]
    assert waiting(world) == []


def test_photo_that_another_invocation_opens_is_looked_at_again(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id), waited=CROWD), context)
    now = world.clock.time
    record.move_on(world.job(job_id), PhotoOpened(now, now + timedelta(seconds=70), now))
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(queues._sqs(), "send_message", lambda **request: sent.append(request))
    assert turn(job_id, context, receives=2) == DONE
    (message,) = sent
    assert (message["QueueUrl"], message["DelaySeconds"]) == (world.queues["waiting"], 20)
    assert json.loads(message["MessageBody"])["again"]  # the other invocation may die


def test_error_puts_the_turn_back_in_the_waiting_queue(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    back: list[bool] = []
    monkeypatch.setattr(
        "triptych.aws.queues.put_back", lambda _, *, seconds, waiting: back.append(waiting)
    )  # its signature

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(wait_in_line, "take_turn", broken)
    assert turn(world.new_job(), context) == KEPT
    assert back == [True]


@pytest.mark.parametrize(("seconds", "messages"), [(60, 0), (301, 1)])
def test_watchdog_replaces_a_lost_message_of_the_line(
    world: World, context: SimpleNamespace, seconds: float, messages: int
) -> None:
    world.replicate.before_create = throttle
    job_id = world.new_job()
    deliver(world, job_id, context)
    waiting(world)
    asked = len(world.replicate.creates)
    world.clock.advance(seconds)
    look(world, job_id, context)
    assert len(waiting(world)) == messages
    assert len(world.replicate.creates) == asked  # it asks for nothing itself


def test_watchdog_waits_twice_as_long_before_each_further_message(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_DELAY_SECONDS", "10")
    settings.cache_clear()
    world.replicate.before_create = throttle
    job_id = world.new_job()
    deliver(world, job_id, context)
    waiting(world)
    sent = []
    for second in range(1, 170):
        world.clock.advance(1)
        look(world, job_id, context)
        sent += [second] * len(waiting(world))
    assert sent == [10, 20, 40, 80, 160]


def test_replaced_message_does_not_go_back_in_line(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = throttle
    job_id = world.new_job()
    deliver(world, job_id, context)
    (first,) = waiting(world)
    world.clock.advance(301)
    look(world, job_id, context)
    (second,) = waiting(world)
    for message, back in ((first, 0), (second, 1)):
        del message["group"]
        assert generate.handler(sqs_event(message, queue="waiting"), context) == DONE
        assert len(waiting(world)) == back


def test_replaced_message_still_takes_its_turn(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = throttle
    job_id = world.new_job()
    deliver(world, job_id, context)
    world.clock.advance(301)
    look(world, job_id, context)
    world.replicate.before_create = lambda _: None
    assert turn(job_id, context) == DONE
    assert statuses(world, job_id) == {ImageStatus.GENERATING}


def test_watchdog_leaves_an_unopened_photo_in_line(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id), waited=CROWD), context)
    waiting(world)
    world.clock.advance(301)
    look(world, job_id, context)
    assert [message["job_id"] for message in waiting(world)] == [job_id]
    assert world.messages("generation") == []
    assert world.job(job_id).status is JobStatus.GENERATING


def test_round_is_no_larger_than_the_requests_that_are_left(world: World, context: SimpleNamespace) -> None:
    left = iter(range(3, -1, -1))

    def some_left(_: httpx.Request) -> httpx.Response:
        made = list(world.replicate.predictions.values())[-1]
        headers = {"ratelimit-remaining": str(next(left)), "ratelimit-reset": "20"}
        return httpx.Response(201, json=made, headers=headers)

    world.replicate.after_create = some_left
    world.replicate.before_create = lambda _: throttle() if len(world.replicate.predictions) == 4 else None
    assert deliver(world, world.new_job(), context) == DONE
    assert deliver(world, world.new_job(), context) == DONE
    assert len(world.replicate.creates) == 4  # three, and the one that was left


def test_answer_without_requests_left_slows_the_process_down(world: World, context: SimpleNamespace) -> None:
    def none_left(_: httpx.Request) -> httpx.Response:
        made = list(world.replicate.predictions.values())[-1]
        return httpx.Response(201, json=made, headers={"ratelimit-remaining": "0", "ratelimit-reset": "1"})

    world.replicate.after_create = none_left
    assert deliver(world, world.new_job(), context) == DONE
    assert deliver(world, world.new_job(), context) == DONE
    assert len(world.replicate.creates) == 3
    assert len(waiting(world)) == 1

"""The generate handler: each image gets exactly one prediction, whatever Replicate answers."""

from __future__ import annotations

import io
import itertools
import json
import threading
from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

import generate
from tests.integration.emf import totals
from tests.integration.generating import DONE, KEPT, deliver
from tests.support.events import s3_notification, sqs_event
from tests.support.function_environment import BUCKET, TOKEN
from tests.support.photo_corpus import jpeg_of_scans
from tests.support.photos import JPEG, PNG, picture
from tests.support.world import World
from triptych import backoff
from triptych.aws import parameters, queues, table
from triptych.deadlines import deadline
from triptych.flows import doubts, open_photo, owner, record
from triptych.flows import generate as generation
from triptych.job import (
    AnswerLost,
    ImageStatus,
    Job,
    JobStatus,
    UploadArrived,
    WaitsInLine,
    apply,
    is_retryable,
)
from triptych.pace import Left, Pace
from triptych.photo.formats import MOST_SCANS
from triptych.replicate import predictions, transport
from triptych.runtime import clock
from triptych.runtime.observability import logger
from triptych.settings import settings


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The delay in seconds of each message that was put back."""
    seen: list[int] = []
    monkeypatch.setattr(queues, "put_back", lambda _receipt, *, seconds, **_: seen.append(seconds))
    return seen


def refused(request: httpx.Request) -> httpx.Response:
    """Refuse the connection, so that provably no prediction is created."""
    raise httpx.ConnectError("refused", request=request)


def test_three_predictions_are_requested_with_complete_input(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    assert deliver(world, job_id, context) == DONE
    bodies = [json.loads(request.content) for request in world.replicate.creates]
    assert len(bodies) == 3
    assert len({body["input"]["seed"] for body in bodies}) == 3
    assert {tuple(body["webhook_events_filter"]) for body in bodies} == {("completed",)}
    (cancel_after,) = {request.headers["cancel-after"] for request in world.replicate.creates}
    assert (
        1790 <= int(cancel_after.removesuffix("s")) <= 1801
    )  # to the deadline; S3's times are whole seconds
    assert all(f"/uploads/{job_id}/photo.jpg?" in body["input"]["input_image"] for body in bodies)
    assert all(body["input"]["prompt"] == "Paint it." for body in bodies)
    assert set(bodies[0]) == {"version", "input", "webhook", "webhook_events_filter"}


def test_celery_message_requests_the_same_predictions(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    message = {"job_id": job_id, "original_s3_key": f"uploads/{job_id}/photo.jpg"}
    assert generate.handler(sqs_event(message), context) == DONE
    assert len(world.replicate.creates) == 3


def test_predictions_are_requested_in_parallel(world: World, context: SimpleNamespace) -> None:
    together = threading.Barrier(3, timeout=10)

    def all_are_here(_: httpx.Request) -> None:
        together.wait()

    world.replicate.before_create = all_are_here
    deliver(world, world.new_job(), context)
    assert len(world.replicate.predictions) == 3


def test_intention_is_stored_before_the_post(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    seen: list[ImageStatus] = []

    def keep_statuses(_: httpx.Request) -> None:
        seen.extend(image.status for image in world.job(job_id).images)

    world.replicate.before_create = keep_statuses
    deliver(world, job_id, context)
    assert seen == [ImageStatus.REQUESTING] * 9


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '{"job_id": 1}',
        '{"Records": [{}]}',
        '{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}',
        '{"job_id": "unknown", "original_s3_key": "uploads/unknown/photo.jpg"}',
        json.dumps(s3_notification("unknown")),
        json.dumps(s3_notification("x", "uploads/photo.jpg")),
        json.dumps(s3_notification("x", "")),
    ],
)
def test_message_without_a_job_is_dropped(world: World, context: SimpleNamespace, body: str) -> None:
    assert generate.handler(sqs_event(body), context) == DONE
    assert world.replicate.requests == []


def test_another_jobs_photo_is_not_used(world: World, context: SimpleNamespace) -> None:
    mine, other = world.new_job(photo=None), world.new_job(owner="bob")
    message = {"job_id": mine, "original_s3_key": f"uploads/{other}/photo.jpg"}
    assert generate.handler(sqs_event(message), context) == DONE
    assert world.replicate.requests == []
    assert world.job(mine).status is JobStatus.AWAITING_UPLOAD


@pytest.mark.parametrize(
    ("photo", "code"),
    [
        (PNG, "photo_type_mismatch"),
        (b"%PDF-1.7 something", "photo_unsupported"),
        (b"", "photo_empty"),
        (JPEG[: len(JPEG) // 2], "photo_unreadable"),
        (picture(size=(1001, 1000)), "photo_too_many_pixels"),
        (jpeg_of_scans(MOST_SCANS + 1), "photo_too_complex"),
        (JPEG + b"\0" * 1_000_000, "photo_too_large"),
    ],
)
def test_rejected_photo_fails_the_job_and_requests_nothing(
    world: World, context: SimpleNamespace, photo: bytes, code: str
) -> None:
    job_id = world.new_job(photo=photo)
    assert deliver(world, job_id, context) == DONE
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure
    assert job.failure.code == code
    assert not is_retryable(job)
    assert world.replicate.requests == []


def test_second_event_requests_nothing(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    deliver(world, job_id, context)
    assert deliver(world, job_id, context) == DONE
    assert len(world.replicate.creates) == 3


def test_concurrent_second_event_bills_no_prediction_twice(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    job_id = world.new_job()
    first = threading.Lock()
    inner: list[int | None] = []

    def meanwhile(_: httpx.Request) -> None:
        if first.acquire(blocking=False):
            job = open_photo.photo_arrived(job_id, f"uploads/{job_id}/photo.jpg", Pace())
            inner.append(backoff.seconds_until_next(job, 1, clock.now()))

    world.replicate.before_create = meanwhile
    assert deliver(world, job_id, context) == DONE
    assert inner[0] is not None  # its message stays, in case the first dies
    assert len(world.replicate.predictions) == 3


def test_lost_race_for_the_intention_does_not_post(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, waits: list[int]
) -> None:
    job_id = world.new_job()
    put = table.put
    raced: list[bool] = []

    def lose_once(*args: Any) -> Any:
        if not raced:
            raced.append(True)
            # Another invocation reads and writes the job after this invocation has read it.
            open_photo.photo_arrived(job_id, f"uploads/{job_id}/photo.jpg", Pace())
        return put(*args)

    monkeypatch.setattr(table, "put", lose_once)
    deliver(world, job_id, context)
    assert len(world.replicate.predictions) == 3


def arrived_job(world: World) -> Job:
    job = world.job(world.new_job())
    changed = record.move_on(job, UploadArrived(job.photo.key, world.clock.time)).job
    assert changed
    return changed


def test_intention_that_loses_five_races_is_put_back(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, waits: list[int]
) -> None:
    """Each race may have read Replicate's list, so that the function's time would be over."""
    job = arrived_job(world)
    lost: list[str] = []

    def lose(*_: object) -> None:
        lost.append(job.job_id)
        raise table.ConflictError(job.job_id)

    monkeypatch.setattr(table, "put", lose)
    with pytest.raises(table.ConflictError):
        generation.advance(job, pace=Pace())
    assert len(lost) == 5
    assert not world.replicate.creates


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of predictions that each round of requests creates."""
    seen: list[int] = []
    create = predictions.create

    def counted(new: list[Any], **rest: Any) -> Any:
        seen.append(len(new))
        return create(new, **rest)

    monkeypatch.setattr(predictions, "create", counted)
    return seen


def after_a_prediction(world: World, left: int) -> Pace:
    pace = Pace()
    pace.created(world.clock.time, Left(left, 30))
    return pace


def test_requests_that_replicate_still_allows_are_sent_in_rounds(world: World, rounds: list[int]) -> None:
    job = generation.advance(arrived_job(world), pace=after_a_prediction(world, 2))
    assert job
    assert len(job.having(ImageStatus.GENERATING)) == 3
    assert rounds == [2, 1]


def test_rounds_end_when_their_time_is_over(
    world: World, rounds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "ASKING_SECONDS", 0)
    generation.advance(arrived_job(world), pace=after_a_prediction(world, 1))
    assert rounds == [1]


def test_job_waits_while_replicate_allows_no_request(
    world: World, rounds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []
    settle = doubts.settle

    def counted(job: Job, now: datetime) -> doubts.Settled:
        settled.append(job.job_id)
        return settle(job, now)

    monkeypatch.setattr(doubts, "settle", counted)
    job = generation.advance(arrived_job(world), pace=after_a_prediction(world, 0))
    assert job
    assert len(job.having(ImageStatus.PENDING)) == 3
    assert (rounds, len(settled)) == ([], 1)


class Learning(Pace):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def created(self, now: datetime, left: Left | None = None, *, sent: datetime | None = None) -> None:
        self.told.append(("created", now, left, sent))

    def refused(self, now: datetime, seconds: float | None = None, *, sent: datetime | None = None) -> None:
        self.told.append(("refused", now, seconds, sent))


def test_pace_learns_once_from_the_refusals_of_a_round(world: World) -> None:
    """It learns the longest wait, and when the requests were sent: others were answered meanwhile."""
    named = iter(["3", "7"])
    lock = threading.Lock()
    sent = world.clock.time

    def answer(_: httpx.Request) -> httpx.Response | None:
        with lock:
            world.clock.time = sent + timedelta(seconds=2)
            wait = next(named, None)
        return httpx.Response(429, json={}, headers={"retry-after": wait}) if wait else None

    world.replicate.before_create = answer
    pace = Learning()
    generation.advance(arrived_job(world), pace=pace)
    now = sent + timedelta(seconds=2)
    assert pace.told == [("created", now, None, sent), ("refused", now, 7, sent)]


@pytest.mark.parametrize(("answered", "seconds"), [(True, 30), (False, 90)])
def test_answer_of_replicates_leaves_a_shorter_doubt(world: World, *, answered: bool, seconds: int) -> None:
    image = arrived_job(world).images[0]
    event = generation._event(image, predictions.InDoubt(answered, "cut"))
    until = world.clock.time + timedelta(seconds=seconds)
    assert event == AnswerLost(image.index, image.attempt, until)


def test_photo_can_be_fetched_somewhat_longer_than_until_the_deadline(world: World) -> None:
    job = arrived_job(world)
    generation.advance(job, pace=Pace())
    (url, *_) = [json.loads(request.content)["input"]["input_image"] for request in world.replicate.creates]
    left = (deadline(job) - world.clock.time).total_seconds()
    assert int(httpx.URL(url).params["X-Amz-Expires"]) == left + 60


def test_last_prediction_is_requested_five_seconds_before_the_deadline(world: World) -> None:
    """Replicate takes no `Cancel-After` below that."""
    job = arrived_job(world)
    last = deadline(job) - timedelta(seconds=5)
    assert len(generation.unasked(job, last)) == 3
    assert not generation.unasked(job, last + timedelta(microseconds=1))


def test_image_that_waits_is_requested_at_its_time(world: World) -> None:
    now = world.clock.time
    job = apply(arrived_job(world), WaitsInLine(now), now)
    assert len(generation.to_ask_for(job, now)) == 3
    assert not generation.to_ask_for(job, now - timedelta(microseconds=1))


def lose_answer(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("cut", request=request)


def timed_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("no answer", request=request)


LOST_ANSWERS = {
    "connection cut": lose_answer,
    "timeout": timed_out,
    "502 in HTML": lambda _: httpx.Response(502, html="<html>Bad Gateway</html>"),
    "not JSON": lambda _: httpx.Response(201, text="created!"),
    "a list": lambda _: httpx.Response(201, json=[]),
    "no id": lambda _: httpx.Response(201, json={"status": "starting"}),
    "server error": lambda _: httpx.Response(500, json={"detail": "oops"}),
}


@pytest.mark.parametrize("answer", LOST_ANSWERS.values(), ids=LOST_ANSWERS)
def test_lost_answer_is_adopted_and_not_requested_again(
    world: World, context: SimpleNamespace, waits: list[int], answer: Any
) -> None:
    world.replicate.after_create = answer
    job_id = world.new_job()
    assert deliver(world, job_id, context) == KEPT
    assert all(image.status is ImageStatus.REQUESTING for image in world.job(job_id).images)
    world.replicate.after_create = lambda _: None
    assert deliver(world, job_id, context, receives=2) == DONE
    assert len(world.replicate.creates) == 3
    assert {image.prediction_id for image in world.job(job_id).images} == {"p0", "p1", "p2"}
    world.clock.advance(1000)
    assert deliver(world, job_id, context, receives=3) == DONE
    assert len(world.replicate.creates) == 3


ODD_PREDICTIONS = {
    "null version": {"version": None, "model": None},
    "status aborted": {"status": "aborted"},
    "error that is not a string": {"error": {"detail": "odd"}},
    "no output": {},
    "unknown fields": {"deadline": "x", "data_removed": False},
}


@pytest.mark.parametrize("odd", ODD_PREDICTIONS.values(), ids=ODD_PREDICTIONS)
def test_answer_outside_replicates_schema_is_read(
    world: World, context: SimpleNamespace, odd: dict[str, object]
) -> None:
    world.replicate.after_create = lambda request: httpx.Response(
        201, json={**list(world.replicate.predictions.values())[-1], **odd}
    )
    job_id = world.new_job()
    assert deliver(world, job_id, context) == DONE
    assert len(world.replicate.creates) == 3
    assert all(image.status is ImageStatus.GENERATING for image in world.job(job_id).images)


def test_unreadable_row_hides_no_other_prediction(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    world.replicate.after_create = lose_answer
    job_id = world.new_job()
    deliver(world, job_id, context)
    world.replicate.account.odd_rows = [
        {"id": "x", "version": None, "model": 3, "error": [1], "input": None},
        {"id": None, "status": 7},
    ]
    assert deliver(world, job_id, context) == DONE
    assert len(world.replicate.creates) == 3


def test_prediction_that_was_never_created_is_requested_again(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    world.replicate.before_create = lose_answer  # no prediction was made
    job_id = world.new_job()
    assert deliver(world, job_id, context) == KEPT
    world.replicate.before_create = lambda _: None
    world.clock.advance(generation.UNANSWERED_SECONDS - 1)
    assert deliver(world, job_id, context) == KEPT
    assert len(world.replicate.creates) == 3
    world.clock.advance(2)
    assert deliver(world, job_id, context) == DONE
    assert len(world.replicate.predictions) == 3
    assert [image.attempt for image in world.job(job_id).images] == [2, 2, 2]


def test_unreadable_list_keeps_predictions_in_doubt(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    world.replicate.after_create = lose_answer
    job_id = world.new_job()
    deliver(world, job_id, context)
    world.replicate.on_read = lambda _: httpx.Response(503)
    world.clock.advance(generation.UNANSWERED_SECONDS + 1)
    for tries in range(1, 10):
        assert deliver(world, job_id, context, tries) == KEPT
    assert len(world.replicate.creates) == 3
    # The list is not read all the time either.
    assert all(wait >= 0.75 * 2**tries for tries, wait in zip(range(1, 9), waits[-9:-1], strict=True))


def test_endless_list_keeps_predictions_in_doubt(
    world: World, context: SimpleNamespace, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.replicate.before_create = lose_answer
    job_id = world.new_job()
    deliver(world, job_id, context)
    monkeypatch.setattr("triptych.replicate.listing.LIST_SECONDS", 0.2)
    world.replicate.on_read = lambda _: httpx.Response(
        200, json={"results": [], "next": "/v1/predictions?cursor=on"}
    )
    world.clock.advance(generation.UNANSWERED_SECONDS + 1)
    assert deliver(world, job_id, context) == KEPT
    assert len(world.replicate.creates) == 3


def test_retry_after_of_a_day_is_capped(world: World, context: SimpleNamespace, waits: list[int]) -> None:
    world.replicate.before_create = lambda _: httpx.Response(503)
    world.replicate.on_read = lambda _: httpx.Response(429, headers={"retry-after": "86400"})
    assert deliver(world, world.new_job(), context) == KEPT
    assert max(waits) <= backoff.LONGEST_SECONDS


def test_refused_connection_leaves_no_doubt(world: World, context: SimpleNamespace, waits: list[int]) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    world.replicate.before_create = refuse
    job_id = world.new_job()
    assert deliver(world, job_id, context) == KEPT
    assert all(image.status is ImageStatus.PENDING for image in world.job(job_id).images)
    world.replicate.before_create = lambda _: None
    world.clock.advance(waits[-1])
    assert deliver(world, job_id, context, 2) == DONE
    assert len(world.replicate.predictions) == 3


@pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidKeyId"])
def test_unreadable_token_fails_the_job_with_its_own_code(
    world: World, context: SimpleNamespace, code: str
) -> None:
    """SSM answers so if the role or the KMS key does not permit it."""
    job_id = world.new_job()
    with Stubber(parameters.provider().client) as ssm:
        ssm.add_client_error("get_parameter", code, "User is not authorized to perform: kms:Decrypt")
        deliver(world, job_id, context)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure
    assert job.failure.code == "replicate_token_unreadable"
    assert not world.replicate.requests


def test_temporarily_unreadable_token_is_waited_for(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    with Stubber(parameters.provider().client) as ssm:
        ssm.add_client_error("get_parameter", "ThrottlingException", "Rate exceeded")
        deliver(world, job_id, context)
    # No POST was sent, so no image is in doubt.
    assert [image.status for image in world.job(job_id).images] == [ImageStatus.PENDING] * 3


@pytest.mark.parametrize("wrong", ["r8_é", "r8_one\nr8_two", "r8_\x00"])
def test_token_that_no_header_can_hold_fails_the_job(
    world: World, context: SimpleNamespace, wrong: str
) -> None:
    """Such a request is never sent. A token in two lines, for example, was pasted with more than the token."""
    store = partial(boto3.client("ssm").put_parameter, Name="/triptych/replicate-token", Overwrite=True)
    store(Value=wrong)
    job_id = world.new_job()
    deliver(world, job_id, context)
    job = world.job(job_id)
    assert job.failure
    assert (job.status, job.failure.code) == (JobStatus.FAILED, "replicate_unauthorized")
    assert world.replicate.requests == []
    store(Value=TOKEN)
    owner.retry(world.job(job_id))
    deliver(world, job_id, context)
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == 3


def test_missing_token_fails_the_job(world: World, context: SimpleNamespace) -> None:
    boto3.client("ssm").delete_parameter(Name="/triptych/replicate-token")
    job_id = world.new_job()
    assert deliver(world, job_id, context) == DONE
    failure = world.job(job_id).failure
    assert failure
    assert failure.code == "replicate_unauthorized"
    assert world.replicate.requests == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "replicate_unauthorized"),
        (402, "replicate_out_of_credit"),
        (404, "replicate_model_not_found"),
        (422, "replicate_input_rejected"),
        (400, "replicate_refused"),
        (302, "replicate_refused"),
    ],
)
def test_refusal_fails_the_job(world: World, context: SimpleNamespace, status: int, code: str) -> None:
    world.replicate.before_create = lambda _: httpx.Response(status, json={"title": "No", "detail": TOKEN})
    job_id = world.new_job()
    assert deliver(world, job_id, context) == DONE
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure
    assert job.failure.code == code
    assert deliver(world, job_id, context) == DONE
    assert len(world.replicate.creates) == 3


def test_prediction_made_before_a_refusal_is_kept(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = lambda _: (
        httpx.Response(402, json={"title": "Insufficient credit"}) if world.replicate.predictions else None
    )
    job_id = world.new_job()
    deliver(world, job_id, context)
    made = [image.status for image in world.job(job_id).images].count(ImageStatus.GENERATING)
    assert made == len(world.replicate.predictions) > 0
    assert world.job(job_id).status is JobStatus.GENERATING


def test_rotated_token_fails_no_job(
    world: World, context: SimpleNamespace, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = itertools.chain(["r8_old"], itertools.repeat(TOKEN))
    monkeypatch.setattr("triptych.replicate.transport.token", lambda *, fresh=False: next(tokens))
    world.replicate.handle, handle = (  # type: ignore[method-assign]  # the old token is refused
        lambda request: (
            httpx.Response(401, json={"title": "Unauthenticated"})
            if request.headers["authorization"].endswith("old")
            else handle(request)
        ),
        world.replicate.handle,
    )
    monkeypatch.setattr(
        "triptych.replicate.transport.http_transport", lambda: httpx.MockTransport(world.replicate.handle)
    )
    job_id = world.new_job()
    assert deliver(world, job_id, context) == KEPT
    world.clock.advance(waits[-1])
    assert deliver(world, job_id, context, 2) == DONE
    assert len(world.replicate.predictions) == 3


@pytest.mark.parametrize("stored_in_time", [True, False])
def test_new_token_stored_before_the_revocation_fails_no_job(
    world: World,
    context: SimpleNamespace,
    waits: list[int],
    monkeypatch: pytest.MonkeyPatch,
    stored_in_time: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    handle, good = world.replicate.handle, [TOKEN]

    def checked(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] != f"Bearer {good[0]}":
            return httpx.Response(401, json={"title": "Unauthenticated"})
        request.headers["authorization"] = f"Bearer {TOKEN}"
        return handle(request)

    monkeypatch.setattr("triptych.replicate.transport.http_transport", lambda: httpx.MockTransport(checked))
    deliver(world, world.new_job(), context)  # now this process caches the token
    good[0] = "r8_new"
    if stored_in_time:
        boto3.client("ssm").put_parameter(
            Name="/triptych/replicate-token", Value="r8_new", Type="SecureString", Overwrite=True
        )
    job_id = world.new_job()
    assert deliver(world, job_id, context) == (KEPT if stored_in_time else DONE)
    if stored_in_time:
        world.clock.advance(waits[-1])
        assert deliver(world, job_id, context, 2) == DONE
        assert world.job(job_id).status is JobStatus.GENERATING
    else:
        failure = world.job(job_id).failure
        assert failure
        assert failure.code == "replicate_unauthorized"


def test_often_received_message_is_replaced_by_a_new_one(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    call: Any = vars(BaseClient)["_make_api_call"]

    def seen(client: Any, operation: str, parameters: Any) -> Any:
        if operation == "SendMessage":
            sent.append(parameters)
        return call(client, operation, parameters)

    job_id = world.new_job()
    monkeypatch.setattr(BaseClient, "_make_api_call", seen)
    world.replicate.before_create = refused
    assert deliver(world, job_id, context, receives=backoff.MOST_RECEIVES) == DONE
    (message,) = sent
    assert message["QueueUrl"] == world.queues["generation"]
    assert 0 < message["DelaySeconds"] <= backoff.LONGEST_SECONDS
    assert json.loads(message["MessageBody"])["again"]  # an earlier try may have died
    world.replicate.before_create = lambda _: None
    world.clock.advance(message["DelaySeconds"])
    assert generate.handler(sqs_event(message["MessageBody"]), context) == DONE
    assert len(world.replicate.predictions) == 3


def test_message_waits_no_longer_than_the_deadline(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    world.replicate.before_create = refused
    job_id = world.new_job()
    assert deliver(world, job_id, context) == KEPT
    world.clock.advance(1801)
    assert deliver(world, job_id, context, receives=2) == DONE
    assert len(world.replicate.creates) == 3


def test_waiting_message_changes_its_visibility_timeout(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[str, object]] = []
    call: Any = vars(BaseClient)["_make_api_call"]

    def seen(client: Any, operation: str, parameters: Any) -> Any:
        if operation == "ChangeMessageVisibility":
            changes.append((parameters["ReceiptHandle"], parameters["VisibilityTimeout"]))
            return {}
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", seen)
    world.replicate.before_create = refused
    assert deliver(world, world.new_job(), context) == KEPT
    ((receipt, seconds),) = changes
    assert receipt == "receipt"
    assert 1 <= int(str(seconds)) <= 4


@pytest.mark.parametrize("status", [502, 504, 408, 520, 524, 503, 500])
def test_server_errors_of_an_idle_account_stay_in_doubt(
    world: World, context: SimpleNamespace, waits: list[int], status: int
) -> None:
    world.replicate.before_create = lambda _: httpx.Response(status)
    job_id = world.new_job()
    deliver(world, job_id, context)
    world.replicate.before_create = lambda _: None
    world.clock.advance(89)
    deliver(world, job_id, context, 2)
    assert world.replicate.predictions == {}
    world.clock.advance(2)
    deliver(world, job_id, context, 3)
    assert len(world.replicate.predictions) == 3


def test_internal_error_puts_the_message_back_soon(
    world: World, context: SimpleNamespace, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    monkeypatch.setattr(table, "get", broken)
    assert deliver(world, "j", context) == KEPT
    assert 0 < waits[0] <= 5


def test_model_without_an_input_mapping_fails_the_job(
    world: World,
    context: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REPLICATE_MODEL", "somebody/something")
    job_id = world.new_job()
    assert deliver(world, job_id, context) == DONE
    failure = world.job(job_id).failure
    assert failure
    assert failure.code == "model_not_configured"
    assert totals(capsys.readouterr().out)["UnexpectedErrors"] == 1  # an alarm tells the operator


def test_replicate_can_fetch_the_photo_from_its_url(world: World, context: SimpleNamespace) -> None:
    deliver(world, world.new_job(), context)
    url = json.loads(world.replicate.creates[0].content)["input"]["input_image"]
    key = httpx.URL(url).path.lstrip("/")
    assert world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == JPEG


def test_nothing_secret_is_logged(
    world: World, context: SimpleNamespace, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", lines)
    world.replicate.after_create = lose_answer
    deliver(world, world.new_job(), context)
    world.replicate.after_create = lambda _: httpx.Response(402, json={"detail": TOKEN})
    deliver(world, world.new_job(), context)
    logged = lines.getvalue()
    assert "in doubt" in logged
    for secret in (TOKEN, "X-Amz-Signature", "Paint it."):
        assert secret not in logged


def test_odd_error_of_one_request_loses_no_other_prediction(world: World, context: SimpleNamespace) -> None:
    errors = [RuntimeError("can't start new thread")]

    def odd(_: httpx.Request) -> None:
        if errors:
            raise errors.pop()

    world.replicate.before_create = odd
    job_id = world.new_job()
    deliver(world, job_id, context)
    job = world.job(job_id)
    assert len(job.having(ImageStatus.GENERATING)) == 2
    assert len(job.having(ImageStatus.REQUESTING)) == 1


def test_unreadable_token_after_the_posts_loses_no_prediction(
    world: World, context: SimpleNamespace, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, httpx.Response(401, json={"title": "Unauthenticated"}), None])
    world.replicate.before_create = lambda _: next(answers, None)
    read = transport.token

    def failing(*, fresh: bool = False) -> str:
        if fresh:
            raise transport.ReplicateUnavailableError("no token")
        return read()

    monkeypatch.setattr(transport, "token", failing)
    job_id = world.new_job()
    assert deliver(world, job_id, context) == KEPT
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == 2
    assert len(world.job(job_id).having(ImageStatus.PENDING)) == 1


def test_without_webhook_url_no_prediction_is_created(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job()
    monkeypatch.delenv("WEBHOOK_URL")
    settings.cache_clear()
    assert deliver(world, job_id, context) == KEPT
    assert world.replicate.creates == []

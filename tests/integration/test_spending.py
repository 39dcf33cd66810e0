"""What an order counts, what is given back at a job's end, and the limits of an owner and of the stack."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

import announce
import api
import generate
from tests.integration.looking import look
from tests.integration.ordering import Client, asked_job, end, finish, set_limits
from tests.support.events import api_event, s3_notification, sqs_event
from tests.support.world import World
from triptych import spending
from triptych.aws import counts, event_bus
from triptych.deadlines import day_of, seconds_to_the_next_day
from triptych.failures import FailureKind
from triptych.flows import create_job, owner, record
from triptych.flows import generate as generate_flow
from triptych.job import (
    Canceled,
    DeadlinePassed,
    ImageFailed,
    Job,
    JobRejected,
    JobStatus,
    Output,
    OutputStored,
    PredictionNotCreated,
    UploadArrived,
    UploadExpired,
)
from triptych.settings import settings
from triptych.spending import LimitReachedError, Spent


@pytest.fixture(autouse=True)
def limits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch)


@pytest.fixture
def ann(world: World, context: SimpleNamespace) -> Client:
    return Client(world, context, "ann")


def test_stacks_day_refuses_every_owner(world: World, context: SimpleNamespace, ann: Client) -> None:
    clients = [Client(world, context, name) for name in ("bob", "cy", "dee", "eve")]
    assert [client.order()[0] for client in clients] == [201] * 4
    status, answer, headers = ann.order()
    assert (status, answer["error"]["code"]) == (429, "stack_limit_reached")
    assert ann.pictures == 0
    world.clock.advance(int(headers["Retry-After"]))
    assert ann.order()[0] == 201


def test_unfinished_jobs_are_limited(world: World, context: SimpleNamespace, ann: Client) -> None:
    first, _ = ann.job(), ann.job()
    status, answer, headers = ann.order()
    assert (status, answer["error"]["code"]) == (429, "too_many_active_jobs")
    assert int(headers["Retry-After"]) > 0
    assert Client(world, context, "bob").order()[0] == 201
    finish(world, context, first, UploadExpired())
    assert ann.usage()["active_jobs"] == 1
    assert ann.order()[0] == 201
    assert ann.order()[1]["error"]["code"] == "too_many_active_jobs"


def test_retry_makes_a_job_active_again(world: World, context: SimpleNamespace, ann: Client) -> None:
    job = asked_job(world, context, ann)
    finish(world, context, job, DeadlinePassed(0))
    others = [ann.job(), ann.job()]
    with pytest.raises(LimitReachedError):
        owner.retry(world.job(job.job_id))
    finish(world, context, others[0], UploadExpired())
    world.clock.advance(60)
    assert owner.retry(world.job(job.job_id))
    assert ann.usage()["active_jobs"] == 2


@pytest.mark.parametrize("key", [None, "k"])
def test_deleted_job_is_no_longer_active(
    world: World, context: SimpleNamespace, ann: Client, key: str | None
) -> None:
    job = ann.job(key)
    before = world.item(job.job_id)
    owner.delete(job)
    end(context, before, world.item(job.job_id) or None)
    assert (ann.usage()["active_jobs"], ann.pictures) == (0, 0)


@pytest.mark.parametrize(
    "events",
    [
        [UploadExpired()],
        [Canceled()],
        [JobRejected(FailureKind.PHOTO_UNREADABLE)],
    ],
)
def test_pictures_that_were_not_made_are_given_back_once(
    world: World, context: SimpleNamespace, ann: Client, events: list[Any]
) -> None:
    job = ann.job()
    if isinstance(events[0], JobRejected):
        events = [UploadArrived(job.photo.key, world.clock.time), *events]
    before = world.item(job.job_id)
    assert ann.pictures == 3
    ended = finish(world, context, job, *events)
    assert ann.pictures == 0
    for _ in range(2):  # the stream delivers the end again
        end(context, before, ended)
    assert ann.pictures == 0
    total = counts.spent_in_total()  # nobody else needs the stack's count
    assert total.on(day_of(world.clock.time)) == 0


def test_end_that_is_replayed_after_two_weeks_counts_once(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    """A dead letter may be a day and then the time of its bucket old. By then, DynamoDB has removed what expired."""
    ann.job()
    job = ann.job()
    before, day = world.item(job.job_id), day_of(world.clock.time)
    ended = finish(world, context, job, UploadExpired())
    assert counts.spent("ann").on(day) == 3
    world.clock.advance(16 * 24 * 3600)
    database = boto3.client("dynamodb")
    for item in database.scan(TableName="jobs")["Items"]:
        if int(item["expires_at"]["N"]) < world.clock.time.timestamp():
            world.expire(item["job_id"]["S"])
    end(context, before, ended)
    assert counts.spent("ann").on(day) == counts.spent_in_total().on(day) == 3


def test_pictures_are_given_back_without_a_limit_of_active_jobs(
    world: World, context: SimpleNamespace, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_ACTIVE_JOBS_PER_OWNER", "0")
    settings.cache_clear()
    ann.job()
    job = ann.job()
    before = world.item(job.job_id)
    ended = finish(world, context, job, UploadExpired())
    assert ann.pictures == 3
    for _ in range(2):  # the stream delivers the end again
        end(context, before, ended)
    assert ann.pictures == 3
    assert counts.spent_in_total().on(day_of(world.clock.time)) == 3


def test_each_request_that_may_have_cost_money_counts(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    world.replicate.before_create = lambda _: httpx.Response(503)
    job = asked_job(world, context, ann)
    message = sqs_event({"job_id": job.job_id, "original_s3_key": job.photo.key})
    for _ in range(2):  # Replicate's list shows that there is no prediction, so they are requested again
        world.clock.advance(2 * generate_flow.UNANSWERED_SECONDS)
        generate.handler(message, context)
    (requests,) = {image.billable for image in world.job(job.job_id).images}
    assert requests > 1
    before = world.item(job.job_id)
    ended = finish(world, context, world.job(job.job_id), DeadlinePassed(0))
    end(context, before, ended)
    assert ann.pictures == 3 * requests
    assert counts.spent_in_total().on(day_of(world.clock.time)) == 3 * requests


def test_requests_before_a_retry_count_once(world: World, context: SimpleNamespace, ann: Client) -> None:
    world.clock.advance(seconds_to_the_next_day(world.clock.time))  # so that all of it is on one day
    job = asked_job(world, context, ann)
    finish(world, context, job, DeadlinePassed(0))
    world.clock.advance(7200)  # Replicate has no output any more
    assert owner.retry(world.job(job.job_id))
    assert ann.pictures == 6
    finish(world, context, world.job(job.job_id), DeadlinePassed(1))
    assert ann.pictures == 3


def test_images_stored_just_before_a_retry_count_once(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    """All within a second: a fast model, and a program that retries at once."""
    job = asked_job(world, context, ann)
    output = Output("outputs/x/0.png", "image/png", 3)
    stored = [OutputStored(index, 1, job.images[index].prediction_id or "", output) for index in (0, 1)]
    name = job.images[2].prediction_id or ""
    finish(world, context, job, *stored, ImageFailed(2, 1, name, FailureKind.PREDICTION_FAILED))
    owner.retry(world.job(job.job_id))
    generate.handler(sqs_event(s3_notification(job.job_id)), context)
    again = world.job(job.job_id)
    name = again.images[2].prediction_id or ""
    finish(world, context, again, OutputStored(2, 2, name, output))
    assert world.job(job.job_id).status is JobStatus.SUCCEEDED
    assert ann.usage()["pictures_today"] == len(world.replicate.creates) == 4


def test_made_pictures_are_not_given_back(world: World, context: SimpleNamespace, ann: Client) -> None:
    job = asked_job(world, context, ann)
    finish(world, context, job, Canceled())
    assert ann.pictures == 3


def test_picture_in_doubt_is_not_given_back(world: World, context: SimpleNamespace, ann: Client) -> None:
    world.replicate.after_create = lambda _: httpx.Response(503)
    job = asked_job(world, context, ann)
    assert job.status is JobStatus.GENERATING
    finish(world, context, job, DeadlinePassed(0))
    assert ann.pictures == 3


def test_picture_that_the_list_disproves_is_given_back(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    world.replicate.before_create = lambda _: httpx.Response(503)
    job = asked_job(world, context, ann)
    # Replicate's list shows that they do not exist. Before they are requested again, the owner cancels the job.
    never = [PredictionNotCreated(index, 1, world.clock.time, was_in_doubt=True) for index in range(3)]
    finish(world, context, job, *never, Canceled())
    assert ann.pictures == 0


def test_picture_counts_that_the_list_has_forgotten(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    """All answers and webhooks are lost, and no look succeeds for two hours. By then the list does not name the job."""
    world.replicate.after_create = lambda _: httpx.Response(503)
    job = asked_job(world, context, ann)
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    before, day = world.item(job.job_id), day_of(world.clock.time)
    world.clock.advance(7200)
    look(world, job.job_id, context)
    assert world.job(job.job_id).status is JobStatus.FAILED
    end(context, before, world.item(job.job_id))
    assert counts.spent_in_total().on(day) == 3


@pytest.mark.parametrize("canceled", [True, False])
def test_picture_in_doubt_counts_after_cancellation_and_deletion(
    world: World, context: SimpleNamespace, ann: Client, *, canceled: bool
) -> None:
    world.replicate.after_create = lambda _: httpx.Response(503)
    job = asked_job(world, context, ann)
    if canceled:
        finish(world, context, job, Canceled())
    else:
        before = world.item(job.job_id)
        owner.delete(job)
        end(context, before, None)
    assert ann.pictures == 3


def test_retry_counts_only_the_failed_images(world: World, context: SimpleNamespace, ann: Client) -> None:
    job = asked_job(world, context, ann)
    output = Output("outputs/x/0.png", "image/png", 3)
    stored = [OutputStored(index, 1, job.images[index].prediction_id or "", output) for index in (0, 1)]
    finish(world, context, job, *stored, DeadlinePassed(0))
    world.clock.advance(60)
    owner.retry(world.job(job.job_id))
    assert ann.pictures == counts.spent_in_total().on(day_of(world.clock.time)) == 4


def test_late_end_of_a_retried_job_gives_nothing_back(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    job = asked_job(world, context, ann)
    before = world.item(job.job_id)
    finish(world, context, job, DeadlinePassed(0))
    ended = world.item(job.job_id)
    world.clock.advance(60)
    owner.retry(world.job(job.job_id))
    assert (ann.pictures, ann.usage()["active_jobs"]) == (6, 1)
    end(context, before, ended)
    assert (ann.pictures, ann.usage()["active_jobs"]) == (6, 1)


def test_lost_end_does_not_block_its_owner_for_ever(world: World, ann: Client) -> None:
    ann.order()
    ann.order()
    # The URL and two slow uploads, the deadline, and an hour.
    world.clock.advance(900 + 2 * 300 + 1800 + 3600 - 60)
    assert ann.order()[0] == 429
    world.clock.advance(120)
    assert ann.order()[0] == 201
    assert ann.usage()["active_jobs"] == 1


def test_refused_orders_send_one_message(ann: Client, checks: list[Any]) -> None:
    ann.order()
    ann.order()
    checks.clear()
    for _ in range(5):
        assert ann.order()[0] == 429
    assert len(checks) == 1


def test_process_remembers_only_so_many_refused_owners(
    world: World, context: SimpleNamespace, ann: Client, checks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create_job, "MOST_REMEMBERED", 1)
    bob = Client(world, context, "bob")
    for _ in range(3):
        assert [ann.order()[0], bob.order()[0]] in ([201, 201], [429, 429])
    checks.clear()
    assert [one.order()[0] for one in (bob, ann)] == [429, 429]
    assert len(checks) == 1  # bob is remembered, ann is not


def test_full_day_of_the_stack_costs_one_message(
    world: World, context: SimpleNamespace, ann: Client, checks: list[Any]
) -> None:
    for name in ("bob", "cy", "dee", "eve"):
        Client(world, context, name).order()
    checks.clear()
    for name in ("fay", "gil", "hal"):
        answer = Client(world, context, name).order()
        assert answer[1]["error"]["code"] == "stack_limit_reached"
    assert len(checks) == 1
    world.clock.advance(24 * 3600)
    assert ann.order()[0] == 201


@pytest.mark.parametrize("limit", ["DAILY_PICTURES_PER_OWNER", "DAILY_PICTURES", "MAX_ACTIVE_JOBS_PER_OWNER"])
def test_order_that_saw_old_counts_exceeds_no_limit(
    world: World, ann: Client, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """As many orders at once: whatever each of them has read, the transaction decides."""
    for name in ("DAILY_PICTURES_PER_OWNER", "DAILY_PICTURES", "MAX_ACTIVE_JOBS_PER_OWNER"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv(limit, "1" if limit.startswith("MAX") else "3")
    settings.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(counts, "_spent", lambda _: Spent())
        assert [ann.order()[0] for _ in range(3)] == [201, 429, 429]
    assert ann.pictures == 3


def test_orders_that_are_given_back_are_bounded_too(
    world: World, context: SimpleNamespace, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "MOST_TIMES", 2)
    for number in range(6):  # of three pictures
        assert finish(world, context, ann.job(f"k{number}"), Canceled())
    assert ann.pictures == 0
    for _ in range(2):
        status, answer, headers = ann.order()
        assert (status, answer["error"]["code"]) == (429, "daily_limit_reached")
        assert "more than 18 pictures today" in answer["error"]["message"]
    assert Client(world, context, "bob").order()[0] == 201
    world.clock.advance(int(headers["Retry-After"]))
    assert ann.order()[0] == 201
    key = {"job_id": {"S": "spent by owner ann"}}
    item = boto3.client("dynamodb").get_item(TableName="jobs", Key=key)["Item"]
    assert len([name for name in item if name.startswith("ordered ")]) == 1


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("DAILY_PICTURES_PER_OWNER", "daily_limit_reached"),
        ("DAILY_PICTURES", "stack_limit_reached"),
    ],
)
def test_one_more_image_counts_toward_both_daily_limits(
    world: World,
    context: SimpleNamespace,
    ann: Client,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    code: str,
) -> None:
    monkeypatch.setenv(limit, "4")
    monkeypatch.setenv("MAX_ACTIVE_JOBS_PER_OWNER", "0")
    settings.cache_clear()
    event = api_event(
        "POST", f"/api/v1/jobs/{asked_job(world, context, ann).job_id}/images/0/again", owner="ann"
    )
    assert api.handler(dict(event), context)["statusCode"] == 201
    assert ann.pictures == counts.spent_in_total().on(day_of(world.clock.time)) == 4
    answer = api.handler(dict(event), context)
    assert (answer["statusCode"], json.loads(str(answer["body"]))["error"]["code"]) == (429, code)
    assert ann.pictures == 4


def test_counts_are_removed_after_two_months(world: World, context: SimpleNamespace, ann: Client) -> None:
    ann.job()
    day, kept = day_of(world.clock.time).isoformat(), []
    for days in (61, 1):
        world.clock.advance(days * 24 * 3600)
        finish(world, context, ann.job(), UploadExpired())
        kept.append([day in world.item(key) for key in ("spent by owner ann", "spent in total")])
    assert kept == [[True, True], [False, False]]


@pytest.mark.parametrize("limit", ["DAILY_PICTURES_PER_OWNER", "DAILY_PICTURES"])
def test_order_that_fits_in_no_day_is_invalid(
    world: World, context: SimpleNamespace, ann: Client, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv(limit, "2")
    settings.cache_clear()
    status, answer, headers = ann.order()
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert "at most 2 images" in answer["error"]["message"]
    assert "Retry-After" not in headers
    assert ann.pictures == 0
    assert world.messages("watchdog") == []
    limits: Any = api.handler(api_event("GET", "/api/v1/limits", owner="ann"), context)
    assert json.loads(limits["body"])["max_image_count"] == 2


def test_retry_that_fits_in_no_day_is_invalid(
    world: World, context: SimpleNamespace, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked_job(world, context, ann)
    finish(world, context, job, DeadlinePassed(0))
    monkeypatch.setenv("DAILY_PICTURES", "2")
    settings.cache_clear()
    answer: Any = api.handler(api_event("POST", f"/api/v1/jobs/{job.job_id}/retry", owner="ann"), context)
    assert (answer["statusCode"], json.loads(answer["body"])["error"]["code"]) == (400, "invalid_request")


def test_usage_counts_the_day_and_the_month(
    world: World, context: SimpleNamespace, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.time = world.clock.time.replace(year=2026, month=11, day=10, hour=3)
    finish(world, context, asked_job(world, context, ann), Canceled())
    world.clock.advance(24 * 3600)
    ann.order()
    assert ann.usage() == {
        "pictures_today": 3,
        "pictures_this_month": 6,
        "daily_pictures": 9,
        "day_ends_at": "2026-11-12T00:00:00.000+09:00",
        "active_jobs": 1,
        "max_active_jobs": 2,
    }
    assert Client(world, context, "bob").usage()["pictures_this_month"] == 0
    for name in ("DAILY_PICTURES_PER_OWNER", "MAX_ACTIVE_JOBS_PER_OWNER"):
        monkeypatch.setenv(name, "0")
    settings.cache_clear()
    assert (ann.usage()["daily_pictures"], ann.usage()["max_active_jobs"]) == (None, None)


# ── bad luck ──


def test_end_is_counted_while_the_bus_is_down(
    world: World, context: SimpleNamespace, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_: Job) -> None:
        raise event_bus.EventRefusedError

    job = ann.job()
    before = world.item(job.job_id)
    record.move_on(job, UploadExpired())
    monkeypatch.setattr(event_bus, "announce", down)
    images = {"OldImage": before, "NewImage": world.item(job.job_id), "SequenceNumber": "1"}
    event = {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": images}]}
    assert announce.handler(event, context) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert (ann.usage()["active_jobs"], ann.pictures) == (0, 0)


def test_limit_that_comes_later_gives_nothing_back_to_the_stack(
    world: World, context: SimpleNamespace, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILY_PICTURES", "0")
    settings.cache_clear()
    job = ann.job()
    monkeypatch.setenv("DAILY_PICTURES", "12")
    settings.cache_clear()
    finish(world, context, job, UploadExpired())
    total = counts.spent_in_total()  # nobody else needs the stack's count
    assert total.on(day_of(world.clock.time)) == 0
    assert ann.usage()["active_jobs"] == 0


def test_late_retry_of_another_retry_counts_nothing(
    world: World, context: SimpleNamespace, ann: Client
) -> None:
    job = asked_job(world, context, ann)
    finish(world, context, job, DeadlinePassed(0))
    old = world.job(job.job_id)
    world.clock.advance(60)
    owner.retry(old)
    finish(world, context, world.job(job.job_id), DeadlinePassed(1))
    before = ann.pictures
    world.clock.advance(1)
    after = owner.retry(old)
    assert after
    assert (after.retries, ann.pictures) == (1, before)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("DeleteItem", "TransactionConflictException"),
        ("TransactWriteItems", "ThrottlingException"),
        ("TransactWriteItems", "TransactionInProgressException"),
    ],
)
def test_write_that_meets_another_transaction_is_tried_again(
    world: World,
    context: SimpleNamespace,
    ann: Client,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    code: str,
) -> None:
    job = ann.job()
    call_of: Any = vars(BaseClient)["_make_api_call"]
    refused: list[str] = []

    def call(client: BaseClient, name: str, arguments: Any) -> Any:
        if name == operation and not refused:
            refused.append(name)
            answer: Any = {"Error": {"Code": code, "Message": "No."}}
            raise ClientError(answer, name)
        return call_of(client, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    if operation == "DeleteItem":
        event = api_event("DELETE", f"/api/v1/jobs/{job.job_id}")
        assert api.handler(event, context)["statusCode"] == 204
    else:
        assert ann.order()[0] == 201
    assert refused == [operation]


@pytest.mark.parametrize("time", ["2026-10-24T22:30:00+00:00", "2027-03-27T23:30:00+00:00"])
def test_day_ends_at_midnight_though_clocks_change(monkeypatch: pytest.MonkeyPatch, time: str) -> None:
    monkeypatch.setenv("TIMEZONE", "Europe/Berlin")
    settings.cache_clear()
    now = datetime.fromisoformat(time)
    end = now + timedelta(seconds=seconds_to_the_next_day(now))
    assert settings().local_time(end)[11:19] == "00:00:01"

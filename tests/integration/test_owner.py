"""Retry, cancel, delete and the daily limit, through the api handler and the functions that it triggers."""

from __future__ import annotations

import io
import json
import threading
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from pynamodb.exceptions import CancellationReason, TransactWriteError, VerboseClientError
from pynamodb.transactions import TransactWrite

import api
import generate
import webhook
from tests.integration.generating import fail_all
from tests.integration.looking import handle
from tests.support.events import api_event, s3_notification, sqs_event, webhook_for
from tests.support.function_environment import BUCKET
from tests.support.photos import JPEG, PNG
from tests.support.world import World
from triptych.aws import bucket, counts, queues, table
from triptych.deadlines import upload_urls_end
from triptych.failures import FailureKind
from triptych.flows import collect, owner, record
from triptych.job import MOST_BILLABLE, MOST_RETRIES, DeadlinePassed, ImageStatus, JobStatus
from triptych.replicate import predictions
from triptych.replicate.downloads import Fetched, OutputUnavailableError
from triptych.replicate.predictions import Prediction
from triptych.runtime.budget import TimeBudget
from triptych.settings import settings

REQUEST = {"content_type": "image/jpeg", "content_length": len(JPEG)}


@pytest.fixture
def job_id(world: World, context: SimpleNamespace, checks: Any, tasks: Any) -> str:
    """Create a job whose three predictions run."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    world.clock.advance(10)
    return job_id


def send_webhook(world: World, context: SimpleNamespace, prediction_id: str, **changes: object) -> None:
    answer = webhook.handler(
        webhook_for(world.replicate.finish(prediction_id, **changes), world.clock), context
    )
    assert answer["statusCode"] == 200


def canceled(world: World) -> set[str]:
    paths = [request.url.path for request in world.replicate.requests]
    return {path.split("/")[-2] for path in paths if path.endswith("/cancel")}


# ── retry ──


def test_retry_requests_only_the_failed_images(
    world: World, context: SimpleNamespace, call: Any, job_id: str, checks: Any, tasks: Any
) -> None:
    seeds = {image.index: image.seed for image in world.job(job_id).images}
    send_webhook(world, context, "p0")
    send_webhook(world, context, "p1", status="failed", output=None, error="no")
    send_webhook(world, context, "p2")
    checks.clear()
    status, job = call("POST", f"/api/v1/jobs/{job_id}/retry")
    assert (status, job["status"]) == (200, "GENERATING")
    (task,) = tasks
    assert task == (job_id, f"uploads/{job_id}/photo.jpg")
    ((message, delay),) = checks
    assert delay == 60  # seconds
    assert message.born_at == world.job(job_id).watched_since
    body = {"job_id": task[0], "original_s3_key": task[1]}
    generate.handler(sqs_event(body), context)
    assert len(world.replicate.creates) == 4
    (image,) = world.job(job_id).having(ImageStatus.GENERATING)
    assert image.attempt == 2
    assert image.seed != seeds[image.index]
    send_webhook(world, context, "p3")
    assert world.job(job_id).status is JobStatus.SUCCEEDED


def test_message_of_before_a_retry_watches_no_more(
    world: World, context: SimpleNamespace, call: Any, failed_id: str, checks: Any, tasks: Any
) -> None:
    """The retry has sent a message of its own. Otherwise each retry would add a chain of looks."""
    before = world.job(failed_id)
    world.clock.advance(1)
    assert call("POST", f"/api/v1/jobs/{failed_id}/retry")[0] == 200
    checks.clear()
    handle(queues.WatchdogMessage(job_id=failed_id, born_at=before.watched_since), context)
    assert checks == []


def test_late_copy_leaves_the_outputs_of_a_retry_unchanged(
    world: World,
    context: SimpleNamespace,
    call: Any,
    job_id: str,
    tasks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = bucket.store_output
    nested: list[bool] = []

    def all_the_rest_first(*args: Any) -> Any:
        if not nested:  # during p0's copy the predictions fail, the owner retries, and the retry succeeds
            nested.append(True)
            fail_all(world, job_id, FailureKind.PREDICTION_FAILED)
            call("POST", f"/api/v1/jobs/{job_id}/retry")
            generate.handler(sqs_event({"job_id": tasks[0][0], "original_s3_key": tasks[0][1]}), context)
            for prediction_id in ("p3", "p4", "p5"):
                send_webhook(world, context, prediction_id)
        return store(*args)

    monkeypatch.setattr(bucket, "store_output", all_the_rest_first)
    send_webhook(world, context, "p0")
    job = world.job(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert world.object_keys(f"{bucket.OUTPUTS}/") == [
        image.output.key for image in job.images if image.output
    ]


def test_retry_without_failed_images_changes_nothing(
    world: World, context: SimpleNamespace, call: Any, job_id: str, checks: Any, tasks: Any
) -> None:
    checks.clear()
    seen = []
    for _ in range(2):
        status, job = call("POST", f"/api/v1/jobs/{job_id}/retry")
        for prediction_id in ("p0", "p1", "p2"):
            send_webhook(world, context, prediction_id)
        seen.append((status, job.get("status") or job["error"]["code"]))
    assert seen == [(200, "GENERATING"), (409, "nothing_to_retry")]
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert checks == tasks == []
    assert len(world.replicate.creates) == 3


def let_another_retry_be_first(world: World, call: Any, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry the same job once more, a millisecond later, just before the next write."""
    put = counts.put
    raced: list[bool] = []

    def other_first(*args: Any, **options: Any) -> Any:
        if not raced:
            raced.append(True)
            world.clock.advance(0.001)
            assert call("POST", f"/api/v1/jobs/{job_id}/retry")[0] == 200
        return put(*args, **options)

    monkeypatch.setattr(counts, "put", other_first)


def test_concurrent_retries_send_one_message(
    world: World,
    context: SimpleNamespace,
    call: Any,
    job_id: str,
    checks: Any,
    tasks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for prediction_id in ("p0", "p1", "p2"):
        send_webhook(world, context, prediction_id, status="failed", output=None)
    let_another_retry_be_first(world, call, job_id, monkeypatch)
    assert call("POST", f"/api/v1/jobs/{job_id}/retry")[0] == 200
    assert len(tasks) == 1


@pytest.fixture
def failed_id(world: World, context: SimpleNamespace, job_id: str, checks: Any) -> str:
    """Create a job whose three images failed."""
    for prediction_id in ("p0", "p1", "p2"):
        send_webhook(world, context, prediction_id, status="failed", output=None)
    checks.clear()
    return job_id


def test_job_is_retried_at_most_four_times(
    world: World, context: SimpleNamespace, call: Any, failed_id: str, checks: Any, tasks: Any
) -> None:
    assert "retries" not in world.item(failed_id)  # as in an item older than the count
    for retries in range(1, MOST_RETRIES + 1):
        assert call("POST", f"/api/v1/jobs/{failed_id}/retry")[0] == 200
        generate.handler(sqs_event(s3_notification(failed_id)), context)
        for image in world.job(failed_id).images:
            send_webhook(world, context, str(image.prediction_id), status="failed", output=None)
        assert world.job(failed_id).retries == retries
    before = world.job(failed_id)
    checks.clear()
    tasks.clear()
    status, answer = call("POST", f"/api/v1/jobs/{failed_id}/retry")
    assert (status, answer["error"]["code"]) == (409, "retry_limit_reached")
    assert (
        answer["error"]["message"] == "This job was retried 4 times, which is the maximum. Create a new job."
    )
    assert world.job(failed_id) == before
    assert checks == tasks == []
    assert len(world.replicate.creates) == 3 * (1 + MOST_RETRIES)


def test_job_without_attempts_left_is_not_retried(
    world: World, context: SimpleNamespace, call: Any, failed_id: str, checks: Any, tasks: Any
) -> None:
    job = world.job(failed_id)
    table.put(replace(job, images=tuple(replace(one, billable=MOST_BILLABLE) for one in job.images)))
    before = world.job(failed_id)
    checks.clear()
    tasks.clear()
    status, answer = call("POST", f"/api/v1/jobs/{failed_id}/retry")
    assert (status, answer["error"]["code"]) == (409, "retry_limit_reached")
    assert answer["error"]["message"] == "The failed images have no attempts left. Create a new job."
    assert world.job(failed_id) == before
    assert checks == tasks == []


# ── cancel ──


@pytest.mark.wastes
def test_cancel_stops_predictions_and_keeps_stored_outputs(
    world: World, context: SimpleNamespace, call: Any, job_id: str, checks: Any
) -> None:
    send_webhook(world, context, "p0")
    checks.clear()
    status, job = call("POST", f"/api/v1/jobs/{job_id}/cancel")
    assert (status, job["status"]) == (200, "CANCELED")
    assert sorted(image["status"] for image in job["images"]) == ["CANCELED", "CANCELED", "STORED"]
    ((message, delay),) = checks
    assert delay == 1
    handle(message, context)
    assert canceled(world) == {"p1", "p2"}
    send_webhook(world, context, "p1")  # too late
    assert len(world.object_keys(f"{bucket.OUTPUTS}/")) == 1
    again, seen = call("POST", f"/api/v1/jobs/{job_id}/cancel")[1], call("GET", f"/api/v1/jobs/{job_id}")[1]
    for image in again["images"] + seen["images"]:
        image["url"] = bool(image["url"])  # the signatures differ by the second
    assert again == seen


def test_job_awaiting_its_upload_can_be_canceled(
    world: World, context: SimpleNamespace, call: Any, checks: Any
) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"]
    assert call("POST", f"/api/v1/jobs/{job_id}/cancel")[1]["status"] == "CANCELED"
    world.s3.put_object(Bucket=BUCKET, Key=world.job(job_id).photo.key, Body=JPEG)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    assert world.replicate.requests == []


@pytest.mark.parametrize(("method", "action"), [("POST", "/cancel"), ("DELETE", "")])
def test_prediction_made_while_its_job_goes_is_canceled(  # fixtures
    world: World, context: SimpleNamespace, call: Any, checks: Any, method: str, action: str
) -> None:
    job_id = world.new_job()

    def end_first(_: httpx.Request) -> None:
        call(method, f"/api/v1/jobs/{job_id}{action}")

    world.replicate.before_create = end_first
    generate.handler(sqs_event(s3_notification(job_id)), context)
    assert canceled(world) == set(world.replicate.predictions) == {"p0", "p1", "p2"}


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_prediction_in_doubt_at_the_end_is_found_and_canceled(
    world: World,
    context: SimpleNamespace,
    call: Any,
    checks: Any,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
) -> None:
    monkeypatch.setattr(queues, "put_back", lambda *_, **__: None)

    def cut(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut", request=request)

    world.replicate.after_create = cut
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    checks.clear()
    if action == "cancel":
        call("POST", f"/api/v1/jobs/{job_id}/cancel")
    else:
        call("DELETE", f"/api/v1/jobs/{job_id}")
    world.replicate.on_read = lambda _: httpx.Response(503)
    handle(checks[0][0], context)
    assert canceled(world) == set()
    world.replicate.on_read = lambda _: None
    world.clock.advance(checks[1][1])
    handle(checks[1][0], context)
    assert canceled(world) == {"p0", "p1", "p2"}


# ── delete ──


@pytest.mark.wastes
def test_deleted_job_leaves_nothing(
    world: World, context: SimpleNamespace, call: Any, job_id: str, checks: Any
) -> None:
    send_webhook(world, context, "p0")
    checks.clear()
    assert call("DELETE", f"/api/v1/jobs/{job_id}") == (204, None)
    assert world.object_keys() == []
    assert table.get(job_id) is None
    assert call("GET", f"/api/v1/jobs/{job_id}")[0] == 404
    assert call("DELETE", f"/api/v1/jobs/{job_id}")[0] == 404
    assert call("GET", "/api/v1/jobs")[1]["jobs"] == []
    send_webhook(world, context, "p1")  # its webhook comes after the deletion
    assert world.object_keys() == []
    ((message, delay),) = checks
    assert delay == 0
    handle(message, context)
    assert canceled(world) == {"p1", "p2"}


def test_objects_that_arrive_after_a_deletion_are_removed(
    world: World, context: SimpleNamespace, call: Any, checks: Any
) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"]
    checks.clear()
    call("DELETE", f"/api/v1/jobs/{job_id}")
    world.upload(job_id)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    assert world.object_keys() == []
    # Objects without an event are removed too.
    world.s3.put_object(Bucket=BUCKET, Key=f"{bucket.OUTPUTS}/{job_id}/0.png", Body=b"late")
    handle(checks[0][0], context)
    assert world.object_keys() == []
    world.s3.put_object(Bucket=BUCKET, Key=f"{bucket.OUTPUTS}/{job_id}/1.png", Body=b"later")
    world.clock.advance(checks[1][1])
    handle(checks[1][0], context)
    assert world.object_keys() == []
    assert len(checks) == 2


def test_interrupted_deletion_is_finished(
    world: World,
    context: SimpleNamespace,
    call: Any,
    job_id: str,
    checks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks.clear()

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(table, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            call("DELETE", f"/api/v1/jobs/{job_id}")
    handle(checks[0][0], context)
    assert table.get(job_id) is None
    assert world.object_keys() == []


def test_idempotency_key_of_a_deleted_job_is_refused(
    world: World, context: SimpleNamespace, call: Any, checks: Any
) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")[1]["job_id"]
    assert call("DELETE", f"/api/v1/jobs/{job_id}")[0] == 204
    assert call("GET", f"/api/v1/jobs/{job_id}")[0] == 404
    assert call("DELETE", f"/api/v1/jobs/{job_id}")[0] == 404
    assert call("GET", "/api/v1/jobs")[1]["jobs"] == []
    status, answer = call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")
    assert (status, answer["error"]["code"]) == (409, "idempotency_key_used")
    two_days_later = int((world.clock.time + timedelta(days=2)).timestamp())
    assert world.item(job_id)["expires_at"] == {"N": str(two_days_later)}
    kept = world.item(job_id)
    assert set(kept) == {"job_id", "status", "expires_at"}


def test_key_of_a_deleted_job_costs_no_message(
    call: Any, checks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")[1]["job_id"]
    call("DELETE", f"/api/v1/jobs/{job_id}")
    checks.clear()
    monkeypatch.setattr(counts, "create", lambda *_: pytest.fail("a transaction"))
    assert call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")[0] == 409
    assert checks == []


def test_deleted_job_without_a_key_leaves_no_item(world: World, call: Any, checks: Any) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"]
    call("DELETE", f"/api/v1/jobs/{job_id}")
    assert world.item(job_id) == {}


@pytest.mark.usefixtures("limited")
def test_contended_daily_count_is_answered_with_429(
    world: World, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contended(*_: Any, **__: Any) -> Any:
        raise table.ContendedError

    monkeypatch.setattr(counts, "create", contended)
    status, answer = call("POST", "/api/v1/jobs", REQUEST)
    assert (status, answer["error"]["code"]) == (429, "too_many_at_once")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/retry"), ("POST", "/cancel"), ("POST", "/images/0/again"), ("DELETE", "")],
)
def test_another_owners_job_cannot_be_changed(
    world: World, context: SimpleNamespace, call: Any, job_id: str, method: str, path: str
) -> None:
    before = world.job(job_id)
    assert call(method, f"/api/v1/jobs/{job_id}{path}", owner="bob")[0] == 404
    assert world.job(job_id) == before


# ── the daily limit ──


@pytest.fixture
def limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from triptych.settings import settings  # noqa: PLC0415  # its cache is emptied here

    monkeypatch.setenv("DAILY_PICTURES_PER_OWNER", "9")
    settings.cache_clear()


@pytest.mark.usefixtures("limited")
def test_daily_limit_refuses_further_jobs(world: World, context: SimpleNamespace, call: Any) -> None:
    for _ in range(3):
        assert call("POST", "/api/v1/jobs", REQUEST, idempotency_key=f"k{_}")[0] == 201
    answer = api.handler(api_event("POST", "/api/v1/jobs", REQUEST), context)
    assert answer["statusCode"] == 429
    assert json.loads(str(answer["body"]))["error"]["code"] == "daily_limit_reached"
    wait = int(dict(answer["headers"])["Retry-After"])
    assert 0 < wait <= 86_401
    # A replayed create is not counted; another owner and the next day have counts of their own.
    assert call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k1")[0] == 201
    assert call("POST", "/api/v1/jobs", REQUEST, owner="bob")[0] == 201
    world.clock.advance(wait)
    assert call("POST", "/api/v1/jobs", REQUEST)[0] == 201


def counted(world: World, owner: str = "ann") -> int:
    """Return how many pictures the owner has ordered today."""
    day = world.clock.now().astimezone(ZoneInfo("Asia/Seoul")).date()
    return int(world.item(f"spent by owner {owner}").get(day.isoformat(), {"N": "0"})["N"])


@pytest.mark.usefixtures("limited")
def test_retry_counts_towards_the_daily_limit(world: World, call: Any, failed_id: str) -> None:
    before = counted(world)
    assert call("POST", f"/api/v1/jobs/{failed_id}/retry")[1]["status"] == "GENERATING"
    assert counted(world) == before + 3
    assert world.job(failed_id).retries == 1


@pytest.mark.usefixtures("limited")
def test_counted_retry_returns_the_stored_version(world: World, failed_id: str, tasks: Any) -> None:
    after = owner.retry(world.job(failed_id))
    assert after
    assert after.version == world.job(failed_id).version


@pytest.mark.usefixtures("limited")
def test_retry_over_the_daily_limit_changes_and_sends_nothing(
    world: World, context: SimpleNamespace, call: Any, failed_id: str, checks: Any, tasks: Any
) -> None:
    for _ in range(3):
        call("POST", "/api/v1/jobs", REQUEST)
    before = world.job(failed_id)
    checks.clear()
    answer = api.handler(api_event("POST", f"/api/v1/jobs/{failed_id}/retry"), context)
    assert answer["statusCode"] == 429
    assert json.loads(str(answer["body"]))["error"]["code"] == "daily_limit_reached"
    wait = int(dict(answer["headers"])["Retry-After"])
    assert world.job(failed_id) == before
    assert checks == tasks == []
    assert counted(world) == 9
    world.clock.advance(wait)
    assert call("POST", f"/api/v1/jobs/{failed_id}/retry")[0] == 200
    assert counted(world) == 3


@pytest.mark.usefixtures("limited")
def test_limit_reached_during_a_retry_is_not_exceeded(
    world: World,
    context: SimpleNamespace,
    call: Any,
    failed_id: str,
    checks: Any,
    tasks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        call("POST", "/api/v1/jobs", REQUEST)
    before = world.job(failed_id)
    checks.clear()
    monkeypatch.setattr(counts, "check", lambda *_: None)  # it checked before the others were counted
    status, answer = call("POST", f"/api/v1/jobs/{failed_id}/retry")
    assert (status, answer["error"]["code"]) == (429, "daily_limit_reached")
    assert world.job(failed_id) == before
    assert (counted(world), tasks) == (9, [])
    ((message, delay),) = checks
    world.clock.advance(delay)
    checks.clear()
    handle(message, context)
    assert checks == []  # no write confirmed the retry


@pytest.mark.usefixtures("limited")
def test_retry_that_changes_nothing_is_not_counted(
    world: World, context: SimpleNamespace, call: Any, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counted(world)
    assert call("POST", f"/api/v1/jobs/{job_id}/retry")[0] == 200  # it still runs
    assert counted(world) == before
    for prediction_id in ("p0", "p1", "p2"):
        send_webhook(world, context, prediction_id, status="failed", output=None)
    let_another_retry_be_first(world, call, job_id, monkeypatch)
    assert call("POST", f"/api/v1/jobs/{job_id}/retry")[0] == 200  # the other retry was faster
    assert counted(world) == before + 3
    assert world.job(job_id).retries == 1


@pytest.mark.usefixtures("limited")
def test_contended_count_of_a_retry_is_answered_with_429(
    world: World, call: Any, failed_id: str, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contended(*_: Any, **__: Any) -> Any:
        reasons = [None, CancellationReason("TransactionConflict")]
        canceled = {"Error": {"Code": "TransactionCanceledException"}}
        cause = VerboseClientError(canceled, "TransactWriteItems", cancellation_reasons=reasons)
        raise TransactWriteError("", cause)

    before = world.job(failed_id)
    monkeypatch.setattr(TransactWrite, "_commit", contended)
    monkeypatch.setattr("triptych.runtime.clock.sleep", lambda _: None)
    status, answer = call("POST", f"/api/v1/jobs/{failed_id}/retry")
    assert (status, answer["error"]["code"]) == (429, "too_many_at_once")
    assert (world.job(failed_id), tasks) == (before, [])


@pytest.mark.usefixtures("limited")
def test_refused_jobs_and_the_daily_count_are_not_listed(world: World, call: Any) -> None:
    for _ in range(5):
        call("POST", "/api/v1/jobs", REQUEST)
    assert len(call("GET", "/api/v1/jobs")[1]["jobs"]) == 3


# ── a retry asks for the old output first ──


def late_job(world: World, job_id: str, context: SimpleNamespace, checks: Any, call: Any, code: str) -> None:
    """End the job with failed images whose predictions have succeeded, and retry it."""
    for index in range(3):
        world.replicate.finish(f"p{index}")
    if code == "deadline_exceeded":
        record.move_on(world.job(job_id), DeadlinePassed(0))
    else:
        fail_all(world, job_id, FailureKind[code.upper()])
    checks.clear()
    assert call("POST", f"/api/v1/jobs/{job_id}/retry")[1]["status"] == "GENERATING"


@pytest.mark.parametrize("code", ["output_unavailable", "deadline_exceeded", "prediction_lost"])
def test_retry_pays_nothing_for_an_output_that_replicate_holds(
    world: World, context: SimpleNamespace, call: Any, job_id: str, checks: Any, tasks: Any, code: str
) -> None:
    late_job(world, job_id, context, checks, call, code)
    generate.handler(sqs_event({"job_id": tasks[0][0], "original_s3_key": tasks[0][1]}), context)
    ((message, delay),) = checks
    assert delay == 2  # seconds
    handle(message, context)
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == 3


def test_retry_soon_collects_what_was_in_doubt_at_the_deadline(
    world: World, context: SimpleNamespace, checks: Any, tasks: Any
) -> None:
    world.replicate.after_create = lambda _: httpx.Response(503)
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    world.clock.advance(1801)
    record.move_on(world.job(job_id), DeadlinePassed(0))
    checks.clear()
    owner.retry(world.job(job_id))
    ((message, delay),) = checks
    assert delay == 2
    for index in range(3):
        world.replicate.finish(f"p{index}")
    handle(message, context)
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == 3


@pytest.mark.parametrize(
    "gone",
    [{"status": "canceled", "output": None}, {"output": None}, None],
    ids=["canceled", "removed", "unknown"],
)
def test_retry_requests_again_what_replicate_no_longer_holds(
    world: World, context: SimpleNamespace, call: Any, job_id: str, checks: Any, tasks: Any, gone: Any
) -> None:
    late_job(world, job_id, context, checks, call, "output_unavailable")
    if gone is None:
        world.replicate.forget("p0")
    else:
        world.replicate.change("p0", **gone)
    world.clock.advance(200)
    tasks.clear()
    handle(checks[0][0], context)
    (image,) = world.job(job_id).having(ImageStatus.PENDING)
    assert (image.attempt, image.prediction_id) == (1, None)
    ((task, key),) = tasks
    generate.handler(sqs_event({"job_id": task, "original_s3_key": key}), context)
    assert len(world.replicate.creates) == 4
    send_webhook(world, context, "p3")
    assert world.job(job_id).status is JobStatus.SUCCEEDED


def test_retry_of_a_job_that_expires_soon_is_refused(
    world: World, context: SimpleNamespace, call: Any, job_id: str, checks: Any, tasks: Any
) -> None:
    for index in range(3):
        send_webhook(world, context, f"p{index}", status="failed", output=None, error="no")
    checks.clear()
    last = timedelta(days=settings().retention_days, seconds=-settings().generation_deadline_seconds)
    world.clock.time = world.job(job_id).created_at + last
    status, answer = call("POST", f"/api/v1/jobs/{job_id}/retry")
    assert (status, answer["error"]["code"]) == (409, "retry_limit_reached")
    assert (checks, tasks) == ([], [])
    world.clock.time -= timedelta(microseconds=1)
    assert call("POST", f"/api/v1/jobs/{job_id}/retry")[0] == 200


# ── a deletion ──


def test_deletion_names_the_predictions_requested_after_its_read(
    world: World, context: SimpleNamespace, call: Any, checks: Any, tasks: Any
) -> None:
    job_id = world.new_job()
    seen = world.job(job_id)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    checks.clear()
    owner.delete(seen)
    assert record.read(job_id) is None
    for message, _ in checks.copy():
        handle(message, context)
    assert canceled(world) == {"p0", "p1", "p2"}


def test_failed_cancellation_is_tried_again(
    world: World,
    context: SimpleNamespace,
    call: Any,
    job_id: str,
    checks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working = predictions.cancel
    monkeypatch.setattr(predictions, "cancel", lambda _: False)
    checks.clear()
    call("POST", f"/api/v1/jobs/{job_id}/cancel")
    message = checks[-1][0]
    waits = []
    for _ in range(4):
        handle(message, context)
        waits.append(checks[-1][1])
        world.clock.advance(waits[-1])
    assert waits == [5, 5, 10, 20]
    monkeypatch.setattr(predictions, "cancel", working)
    checks.clear()
    handle(message, context)
    assert canceled(world) == {"p0", "p1", "p2"}
    assert checks == []


def test_predictions_of_a_job_are_canceled_at_the_same_time(
    world: World,
    context: SimpleNamespace,
    call: Any,
    job_id: str,
    checks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten of them, one after another, would outlast the function if Replicate is slow."""
    all_three = threading.Barrier(3, timeout=10)

    def cancel(_: str) -> bool:
        all_three.wait()
        return True

    monkeypatch.setattr(predictions, "cancel", cancel)
    call("POST", f"/api/v1/jobs/{job_id}/cancel")
    message = checks[-1][0]
    checks.clear()
    handle(message, context)
    assert checks == []


def test_cancellation_is_given_up_at_the_deadline(
    world: World,
    context: SimpleNamespace,
    call: Any,
    job_id: str,
    checks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predictions, "cancel", lambda _: False)
    call("POST", f"/api/v1/jobs/{job_id}/cancel")
    message = checks[-1][0]
    world.clock.advance(settings().generation_deadline_seconds)
    checks.clear()
    handle(message, context)
    assert checks == []


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_job_older_than_a_lowered_deadline_leaves_no_prediction_running(
    world: World,
    context: SimpleNamespace,
    call: Any,
    job_id: str,
    checks: Any,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
) -> None:
    """`Cancel-After` ends its predictions at the deadline of the deployment that requested them."""
    world.clock.advance(700)
    monkeypatch.setenv("GENERATION_DEADLINE_SECONDS", "600")
    settings.cache_clear()
    method, path = ("POST", "/cancel") if action == "cancel" else ("DELETE", "")
    call(method, f"/api/v1/jobs/{job_id}{path}")
    handle(checks[-1][0], context)
    assert canceled(world) == {"p0", "p1", "p2"}


def test_cleanup_lasts_until_no_upload_url_is_valid(
    world: World, context: SimpleNamespace, call: Any, checks: Any, tasks: Any
) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"]
    ends = upload_urls_end(world.job(job_id))
    checks.clear()
    call("DELETE", f"/api/v1/jobs/{job_id}")
    while checks:
        message, delay = checks.pop()
        world.clock.advance(delay)
        if world.clock.time < ends:
            world.s3.put_object(Bucket=BUCKET, Key=f"{bucket.UPLOADS}/{job_id}/photo.jpg", Body=JPEG)
        handle(message, context)
        assert all(delay > 0 for _, delay in checks)  # otherwise it looks for ever
    assert world.clock.time > ends
    assert world.object_keys("") == []


def test_upload_that_began_in_its_urls_last_second_is_removed(
    world: World, context: SimpleNamespace, call: Any, checks: Any, tasks: Any
) -> None:
    """A GET renews the URL, here a second before the deletion. The upload takes five minutes, and its event is lost."""
    created = call("POST", "/api/v1/jobs", REQUEST)[1]
    job_id, began = created["job_id"], upload_urls_end(world.job(created["job_id"])) - timedelta(seconds=1)
    world.clock.advance(400)
    renewed = call("GET", f"/api/v1/jobs/{job_id}")[1]["upload"]["expires_at"]
    assert datetime.fromisoformat(renewed) > began
    checks.clear()
    call("DELETE", f"/api/v1/jobs/{job_id}")
    arrives = began + timedelta(seconds=299)
    while checks:
        message, delay = checks.pop()
        if world.clock.time < arrives <= world.clock.time + timedelta(seconds=delay):
            world.s3.put_object(Bucket=BUCKET, Key=f"{bucket.UPLOADS}/{job_id}/photo.jpg", Body=JPEG)
        world.clock.advance(delay)
        handle(message, context)
    assert world.clock.time > arrives
    assert world.object_keys("") == []


def test_last_upload_url_leaves_time_for_a_slow_upload(
    world: World, call: Any, context: SimpleNamespace, checks: Any
) -> None:
    """The upload begins in the last second of the last URL, and takes five minutes. Its event is lost."""
    created = call("POST", "/api/v1/jobs", REQUEST)[1]
    job_id, path = created["job_id"], f"/api/v1/jobs/{created['job_id']}"
    world.clock.advance(1199)
    assert "X-Amz-Expires=1&" in call("GET", path)[1]["upload"]["url"]
    world.clock.advance(1)
    late = call("GET", path)[1]
    assert (late["status"], late["upload"]) == ("AWAITING_UPLOAD", None)
    message, _ = checks.pop()
    world.clock.advance(298)
    handle(message, context)
    world.s3.put_object(Bucket=BUCKET, Key=world.job(job_id).photo.key, Body=JPEG)
    while world.job(job_id).status is JobStatus.AWAITING_UPLOAD and not world.messages("generation"):
        message, delay = checks.pop()
        world.clock.advance(delay)
        handle(message, context)
    assert world.job(job_id).status is JobStatus.AWAITING_UPLOAD  # `generate` opens it


def test_replayed_deletion_spares_a_new_job_with_the_same_id(
    world: World, context: SimpleNamespace, call: Any, checks: Any, tasks: Any
) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST, idempotency_key="again")[1]["job_id"]
    call("DELETE", f"/api/v1/jobs/{job_id}")
    deletion = next(message for message, _ in checks if message.left is not None)
    world.expire(job_id)
    world.clock.advance(3 * 24 * 3600)
    assert call("POST", "/api/v1/jobs", REQUEST, idempotency_key="again")[1]["job_id"] == job_id
    world.s3.put_object(Bucket=BUCKET, Key=world.job(job_id).photo.key, Body=JPEG)
    checks.clear()
    handle(deletion, context)
    assert record.read(job_id)
    assert len(world.object_keys(f"{bucket.UPLOADS}/")) == 1
    assert checks == []


def test_deletion_by_a_slow_clock_cancels_all_predictions(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS delivers its message before the record is deleted, and the job seems to be younger than the deletion."""
    send = queues.send_to_watchdog

    def delivered(message: queues.WatchdogMessage, *, delay: int) -> None:
        monkeypatch.setattr(queues, "send_to_watchdog", send)
        handle(message, context)

    generate.handler(sqs_event(s3_notification(job_id)), context)
    world.clock.time = world.job(job_id).created_at - timedelta(seconds=2)
    monkeypatch.setattr(queues, "send_to_watchdog", delivered)
    owner.delete(world.job(job_id))
    assert {one["status"] for one in world.replicate.predictions.values()} == {"canceled"}


def test_key_of_an_expired_job_does_not_find_its_photo(
    world: World, context: SimpleNamespace, call: Any, checks: Any, tasks: Any
) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST, idempotency_key="again")[1]["job_id"]
    world.s3.put_object(Bucket=BUCKET, Key=world.job(job_id).photo.key, Body=JPEG)
    world.expire(job_id)
    assert call("POST", "/api/v1/jobs", REQUEST, idempotency_key="again")[1]["job_id"] == job_id
    checks.clear()
    handle(queues.WatchdogMessage(job_id=job_id, born_at=world.job(job_id).watched_since), context)
    assert world.job(job_id).status is JobStatus.AWAITING_UPLOAD
    assert tasks == []


def test_copy_that_ran_out_of_time_stores_nothing(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = Fetched(io.BytesIO(PNG), "image/png", len(PNG))
    monkeypatch.setattr(collect, "fetch", lambda *_, **__: nullcontext(fetched))
    prediction = Prediction.model_validate(world.replicate.finish("p0"))
    (tag,) = prediction.tags
    with pytest.raises(OutputUnavailableError):
        collect.result(world.job(job_id), tag, prediction, TimeBudget(0))
    assert world.object_keys(f"{bucket.OUTPUTS}/") == []
    collect.result(world.job(job_id), tag, prediction, TimeBudget(5))
    assert len(world.object_keys(f"{bucket.OUTPUTS}/")) == 1


def test_unreadable_list_does_not_end_the_cleanup(
    world: World, context: SimpleNamespace, call: Any, checks: Any, tasks: Any
) -> None:
    job_id = world.new_job()
    world.replicate.after_create = lambda _: httpx.Response(502)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    call("POST", f"/api/v1/jobs/{job_id}/cancel")
    message = checks[-1][0]
    world.replicate.on_read = lambda _: httpx.Response(503)
    world.clock.advance(200)
    handle(message, context)
    assert checks[-1][1] == 200
    world.replicate.on_read = lambda _: None
    checks.clear()
    handle(message, context)
    assert canceled(world) == {"p0", "p1", "p2"}
    assert checks == []

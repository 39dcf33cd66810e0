"""Metrics that count each event once, and log lines that one id connects."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import announce
import api
import generate
import watchdog
import webhook
from tests.integration.emf import lines_in, metrics_in, totals
from tests.integration.looking import look
from tests.support.events import (
    api_event,
    s3_notification,
    signed,
    sqs_event,
    stream_event,
    webhook_event,
    webhook_for,
)
from tests.support.function_environment import TOKEN, WEBHOOK_URL
from tests.support.photos import JPEG, PNG, picture
from tests.support.world import World
from triptych.aws import event_bus, queues, table
from triptych.flows import owner, preview, record
from triptych.job import DeadlinePassed, Job, JobStatus, UploadExpired
from triptych.replicate.tags import Tag
from triptych.runtime.observability import logger, metrics
from triptych.settings import settings

REQUEST = {"content_type": "image/jpeg", "content_length": len(JPEG)}


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch, world: World) -> Iterator[io.StringIO]:
    """Capture the log, and clear the metrics before and after the test."""
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    monkeypatch.setattr(queues, "put_back", lambda *_, **__: None)
    metrics.clear_metrics()
    yield log
    metrics.clear_metrics()


@pytest.fixture
def create(context: SimpleNamespace) -> Any:
    def create(request_id: str = "request-of-the-create") -> str:
        event = api_event("POST", "/api/v1/jobs", REQUEST)
        event["requestContext"]["requestId"] = request_id
        return str(json.loads(str(api.handler(event, context)["body"]))["job_id"])

    return create


def deliver(job_id: str, context: SimpleNamespace, receives: int = 1) -> None:
    generate.handler(sqs_event(s3_notification(job_id), receives=receives), context)


def send_webhook(world: World, prediction_id: str, context: SimpleNamespace, **changes: object) -> None:
    webhook.handler(webhook_for(world.replicate.finish(prediction_id, **changes), world.clock), context)


def test_repeated_events_of_a_job_are_counted_once(
    world: World, context: SimpleNamespace, create: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = create()
    world.upload(job_id)
    for receives in (1, 2, 3):
        deliver(job_id, context, receives)
    for seconds, prediction_id in ((4, "p0"), (7, "p1"), (9, "p2")):
        world.clock.time = (world.job(job_id).uploaded_at or world.clock.time).replace(microsecond=0)
        world.clock.advance(seconds)
        for _ in range(5):
            send_webhook(world, prediction_id, context)
    look(world, job_id, context)
    printed = capsys.readouterr().out
    assert totals(printed) == {
        "JobsCreated": 1,
        "PhotosArrived": 1,
        "PredictionsCreated": 3,
        "EstimatedDollars": pytest.approx(0.12),
        "ImagesStored": 3,
        "BytesCopied": 3 * len(PNG),
        "PreviewsMissing": 3,  # the output only begins as a PNG
        "WebhooksApplied": 3,
        "WebhooksIgnored": 12,
        "JobsSucceeded": 1,
    }
    found = metrics_in(printed)
    assert found["SecondsToFirstPicture"] == [4.0]
    assert found["SecondsToLastPicture"] == [9.0]
    units = {
        metric["Name"]: metric["Unit"]
        for line in map(json.loads, filter(None, printed.splitlines()))
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    }
    assert units["BytesCopied"] == "Bytes"
    assert units["SecondsToFirstPicture"] == "Seconds"
    assert units["JobsSucceeded"] == "Count"


def test_concurrent_copies_of_an_output_are_counted_once(
    world: World,
    context: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job_id = world.new_job()
    deliver(job_id, context)
    capsys.readouterr()
    put = table.put
    nested: list[bool] = []

    def the_same_first(*args: Any, **options: Any) -> Any:
        if not nested:
            nested.append(True)
            send_webhook(world, "p0", context)
        return put(*args, **options)

    monkeypatch.setattr(table, "put", the_same_first)
    send_webhook(world, "p0", context)
    counted = totals(capsys.readouterr().out)
    assert (counted["ImagesStored"], counted["BytesCopied"]) == (1, len(PNG))
    assert (counted["WebhooksApplied"], counted["WebhooksIgnored"]) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (httpx.Response(429, json={"retry_after": 5}), {"PredictionsNotCreated": 3}),
        (httpx.Response(503), {"PredictionsInDoubt": 3}),
        (
            httpx.Response(402),
            {"PredictionsRefused": 3, "ImagesFailedByUs": 3, "JobsFailed": 1, "JobsFailedByUs": 1},
        ),
    ],
)
def test_each_prediction_request_is_counted_by_its_answer(
    world: World,
    context: SimpleNamespace,
    answer: httpx.Response,
    counted: dict[str, int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.replicate.before_create = lambda _: answer
    deliver(world.new_job(), context)
    counted = {"JobsCreated": 1, "PhotosArrived": 1, **counted}
    assert totals(capsys.readouterr().out) == counted


def test_predictions_in_doubt_are_counted_as_adopted_or_never_created(
    world: World, context: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    posts: list[httpx.Request] = []

    def first_is_lost(request: httpx.Request) -> None:
        posts.append(request)
        if len(posts) == 1:
            raise httpx.ReadError("cut", request=request)

    def answer_is_lost(request: httpx.Request) -> None:
        raise httpx.ReadError("cut", request=request)

    world.replicate.before_create, world.replicate.after_create = first_is_lost, answer_is_lost
    job_id = world.new_job()
    deliver(job_id, context)
    assert totals(capsys.readouterr().out)["PredictionsInDoubt"] == 3
    send_webhook(world, "p0", context)  # it adopts a prediction in doubt
    assert totals(capsys.readouterr().out)["PredictionsAdopted"] == 1
    world.clock.advance(95)
    world.replicate.after_create = lambda _: None
    deliver(job_id, context, 2)
    found = totals(capsys.readouterr().out)
    assert found["PredictionsAdopted"] == 1
    assert found["PredictionsNeverMade"] == found["PredictionsCreated"] == 1
    assert found["EstimatedDollars"] == pytest.approx(0.08)  # one created, one adopted from the list


def test_two_deletions_of_one_job_count_once(
    world: World, context: SimpleNamespace, create: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = create()
    job = world.job(job_id)
    capsys.readouterr()

    def late(_: str) -> Job | None:
        """Return the job as another request read it, just before this one deleted it."""
        owner.delete(job)
        return job

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "read", late)
        assert api.handler(api_event("DELETE", f"/api/v1/jobs/{job_id}"), context)["statusCode"] == 204
    assert table.get(job_id) is None
    assert totals(capsys.readouterr().out)["JobsDeleted"] == 1


@pytest.mark.wastes
@pytest.mark.parametrize("end", [owner.cancel, owner.delete])
def test_billed_prediction_of_a_job_that_is_over_is_wasted(
    world: World,
    context: SimpleNamespace,
    end: Callable[[Job], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    job_id = world.new_job()
    deliver(job_id, context)
    end(world.job(job_id))
    capsys.readouterr()
    send_webhook(world, "p0", context)
    send_webhook(world, "p1", context, status="canceled", output=None)
    send_webhook(world, "p2", context, status="failed", output=None)  # Replicate does not bill it
    found = totals(capsys.readouterr().out)
    assert (found["WebhooksIgnored"], found["PredictionsWasted"]) == (3, 2)


@pytest.mark.wastes
def test_prediction_canceled_at_the_deadline_is_wasted(
    world: World, context: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = world.new_job()
    deliver(job_id, context)
    record.move_on(world.job(job_id), DeadlinePassed(0))
    capsys.readouterr()
    send_webhook(world, "p0", context)  # a retry may still use this output
    assert "PredictionsWasted" not in totals(capsys.readouterr().out)
    send_webhook(world, "p1", context, status="canceled", output=None)
    assert totals(capsys.readouterr().out)["PredictionsWasted"] == 1


@pytest.mark.wastes
def test_late_prediction_of_a_lost_attempt_is_wasted(
    world: World, context: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = world.new_job()
    deliver(job_id, context)
    done = world.replicate.finish(str(world.job(job_id).images[0].prediction_id))
    lost = {**done, "id": "lost", "webhook": Tag(job_id, 0, 0).on(WEBHOOK_URL, TOKEN)}
    lost["input"] = {}
    capsys.readouterr()
    webhook.handler(webhook_for(lost, world.clock, echoes=True), context)
    assert totals(capsys.readouterr().out) == {"WebhooksIgnored": 1, "PredictionsWasted": 1}


@pytest.mark.parametrize(("by", "adopted"), [("webhook", 1), ("list", 3)])
def test_prediction_adopted_before_its_answer_is_stored_counts_once(
    world: World,
    context: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    adopted: int,
) -> None:
    job_id = world.new_job()

    def overtaken(*_: object) -> None:
        """Adopt predictions while the photo's preview is made, before the answers are stored."""
        if by == "webhook":
            webhook.handler(webhook_for(world.replicate.finish("p0"), world.clock), context)
        else:
            deliver(job_id, context, 2)

    monkeypatch.setattr(preview, "of_photo", overtaken)
    deliver(job_id, context)
    found = totals(capsys.readouterr().out)
    assert (found.get("PredictionsCreated", 0), found["PredictionsAdopted"]) == (3 - adopted, adopted)
    assert found["EstimatedDollars"] == pytest.approx(3 * settings().picture_cost_dollars)


def test_photos_are_counted_as_prepared_or_rejected(
    world: World, context: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver(world.new_job(photo=picture(size=(600, 10))), context)  # longer than MaxPhotoEdge
    found = totals(capsys.readouterr().out)
    assert (found["PhotosArrived"], found["PhotosPrepared"]) == (1, 1)
    deliver(world.new_job(photo=b"%PDF"), context)
    assert totals(capsys.readouterr().out) == {
        "JobsCreated": 1,
        "PhotosArrived": 1,
        "PhotosRejected": 1,
        "ImagesFailedByPhoto": 3,
        "JobsFailed": 1,
    }


def test_upload_with_a_lost_event_is_counted_as_found(
    world: World, context: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    look(world, world.new_job(), context)
    assert totals(capsys.readouterr().out) == {"JobsCreated": 1, "UploadsFound": 1}


def test_unexpected_error_is_counted_where_it_is_caught(
    world: World,
    context: SimpleNamespace,
    create: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: io.StringIO,
) -> None:
    """Lambda counts none of these as an error, because the handlers answer."""
    job_id = world.new_job()
    event = world.item(job_id)
    metrics.clear_metrics()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(table, "get", broken)
    deliver(job_id, context)
    watchdog.handler(
        sqs_event({"job_id": job_id, "born_at": world.clock.time.isoformat()}),
        context,
    )
    api.handler(api_event("GET", f"/api/v1/jobs/{job_id}"), context)
    announce.handler(stream_event(event), context)  # the job has not ended
    generate.handler(sqs_event("{"), context)
    assert totals(capsys.readouterr().out) == {"UnexpectedErrors": 5}
    errors = [line for line in lines_in(lines.getvalue()) if line["level"] == "ERROR"]
    assert [line["message"] for line in errors] == [
        "put back",
        "the look failed",
        "unexpected error",
        "not announced",
        "unreadable message",
    ]
    assert not any("observability" in line["location"] for line in errors)


# ── log lines ──


def test_one_correlation_id_links_the_logs_of_every_function(
    world: World,
    context: SimpleNamespace,
    create: Any,
    lines: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_bus, "announce", lambda _: None)
    job_id = create()
    world.upload(job_id)
    world.replicate.after_create = lambda _: httpx.Response(503)
    deliver(job_id, context)
    world.clock.advance(31)
    look(world, job_id, context)
    for prediction_id in ("p0", "p1", "p2"):
        send_webhook(world, prediction_id, context)
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    announce.handler(stream_event(world.item(job_id)), context)
    found = lines_in(lines.getvalue())
    assert {line["correlation_id"] for line in found} == {line["job_id"] for line in found} == {job_id}
    messages = [line["message"] for line in found]
    assert messages[0] == "job created"
    assert {"in doubt", "adopted", "webhook", "job ended", "announced"} <= set(messages)
    assert found[0]["request_id"] == "request-of-the-create"


def test_refused_webhook_is_logged_without_a_job(
    world: World, context: SimpleNamespace, lines: io.StringIO
) -> None:
    job_id = world.new_job()
    deliver(job_id, context)
    lines.truncate(0)
    event = webhook_event(b"{}", signed(b"[]", world.clock), f"job_id={job_id}&image=0&attempt=1")
    webhook.handler({**event, "requestContext": {"requestId": "request-of-the-forger"}}, context)
    (line,) = lines_in(lines.getvalue().lstrip("\0"))
    assert (line["message"], line["reason"]) == ("webhook rejected", "key")
    assert line["correlation_id"] == line["request_id"] == "request-of-the-forger"
    assert "job_id" not in line


def test_unreadable_record_is_logged_without_the_previous_job(
    world: World, context: SimpleNamespace, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_bus, "announce", lambda _: None)
    job_id = world.new_job(photo=None)
    record.move_on(world.job(job_id), UploadExpired())
    lines.truncate(0)
    announce.handler(stream_event(world.item(job_id), {"job_id": {"N": "1"}}), context)
    good, bad = lines_in(lines.getvalue().lstrip("\0"))
    assert (good["message"], good["job_id"]) == ("announced", job_id)
    assert bad["message"] == "not announced"
    assert not {"job_id", "correlation_id"} & bad.keys()

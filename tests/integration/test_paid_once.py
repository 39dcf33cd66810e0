"""Rare orders of events: unneeded predictions end, and no output that Replicate holds is paid for again."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import PIL.Image
import pytest
from botocore.exceptions import EndpointConnectionError

import api
import generate
import webhook
from tests.integration.account import Account
from tests.integration.generating import fail_all
from tests.integration.looking import handle
from tests.support.events import api_event, s3_notification, sqs_event, webhook_for
from tests.support.fake_replicate import streamed
from tests.support.function_environment import BUCKET
from tests.support.photos import JPEG, PNG, picture
from tests.support.world import World
from triptych.aws import bucket, queues, table
from triptych.failures import FailureKind
from triptych.flows import collect, create_job, open_photo, owner, record
from triptych.flows import generate as generation
from triptych.job import (
    LONGEST_RUN,
    DeadlinePassed,
    ImageStatus,
    Job,
    JobRequest,
    JobStatus,
    Output,
    OutputStored,
    PredictionCreated,
    is_retryable,
)
from triptych.pace import Pace
from triptych.photo import inspection, pixels
from triptych.replicate import predictions
from triptych.replicate.downloads import OutputUnavailableError
from triptych.replicate.predictions import Prediction
from triptych.replicate.tags import Tag
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget
from triptych.settings import settings

type Checks = list[tuple[queues.WatchdogMessage, int]]


@pytest.fixture(autouse=True)
def no_visibility(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "put_back", lambda *_, **__: None)


@pytest.fixture
def job_id(world: World, context: SimpleNamespace, checks: Checks) -> str:
    """Create a job whose three predictions run."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    world.clock.advance(10)
    checks.clear()
    return job_id


def call(method: str, path: str, context: SimpleNamespace) -> None:
    assert int(str(api.handler(api_event(method, path), context)["statusCode"])) < 300


def drain(world: World, checks: Checks, context: SimpleNamespace, seconds: float = 1200) -> None:
    """Run the watchdog's messages in the order of their times, for so many seconds."""
    end = world.clock.time + timedelta(seconds=seconds)
    later: list[tuple[Any, queues.WatchdogMessage]] = []
    while True:
        later += [(world.clock.time + timedelta(seconds=delay), message) for message, delay in checks]
        checks.clear()
        later.sort(key=lambda one: one[0])
        if not later or later[0][0] > end:
            checks += [(message, round((at - world.clock.time).total_seconds())) for at, message in later]
            return
        at, message = later.pop(0)
        world.clock.advance(max(0.0, (at - world.clock.time).total_seconds()))
        handle(message, context)


def continue_tasks(tasks: list[tuple[str, str]], context: SimpleNamespace) -> None:
    for name, key in tasks:
        generate.handler(sqs_event({"job_id": name, "original_s3_key": key}), context)
    tasks.clear()


def stopped(world: World) -> set[str]:
    return {name for name, one in world.replicate.predictions.items() if one["status"] == "canceled"}


def cancels_answered(world: World, *answers: httpx.Response) -> None:
    """Let Replicate give these answers to its next cancellations, which then have no effect."""
    handle, left = world.replicate.handle, list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        return left.pop(0) if left and request.url.path.endswith("/cancel") else handle(request)

    world.replicate.handle = answer  # type: ignore[method-assign]  # a fault of this test


def down(*_: object) -> None:
    raise EndpointConnectionError(endpoint_url="https://s3")


def killed(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


# ── nothing runs on ──


def test_cancel_killed_after_its_write_still_ends_predictions(
    world: World, context: SimpleNamespace, checks: Checks, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_on = record.move_on

    def stored_and_killed(*given: Any) -> Any:
        move_on(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record, "move_on", stored_and_killed)
        with pytest.raises(KeyboardInterrupt):
            owner.cancel(world.job(job_id))
    assert world.job(job_id).status is JobStatus.CANCELED
    drain(world, checks, context, seconds=60)
    assert stopped(world) == {"p0", "p1", "p2"}


def test_message_of_a_cancel_that_was_never_stored_ends(
    world: World, context: SimpleNamespace, checks: Checks, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(record, "move_on", killed)
        with pytest.raises(KeyboardInterrupt):
            owner.cancel(world.job(job_id))
    drain(world, checks, context, seconds=200)
    assert checks == []
    assert world.job(job_id).status is JobStatus.GENERATING
    assert not any(
        request.method == "GET" for request in world.replicate.requests
    )  # no second series of looks


def test_cancel_that_meets_a_retry_ends_its_predictions(
    world: World,
    context: SimpleNamespace,
    checks: Checks,
    tasks: list[tuple[str, str]],
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another tab retries the job between this one's read and its write."""
    read, move_on = world.job(job_id), record.move_on

    def retried_first(*given: Any) -> Any:
        monkeypatch.setattr(record, "move_on", move_on)
        fail_all(world, job_id, FailureKind.PREDICTION_FAILED)
        world.clock.advance(1)
        owner.retry(world.job(job_id))
        continue_tasks(tasks, context)
        return record.move_on(*given)

    monkeypatch.setattr(record, "move_on", retried_first)
    owner.cancel(read)
    assert world.job(job_id).status is JobStatus.CANCELED
    drain(world, checks, context, 10)
    assert stopped(world) == {"p3", "p4", "p5"}


def test_failing_cancellation_is_repeated_in_a_dozen_looks(
    world: World, context: SimpleNamespace, checks: Checks, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where SQS delivers messages twice, each look has more than one successor. Many looks would become too many."""
    monkeypatch.setattr(predictions, "cancel", lambda _: False)
    call("POST", f"/api/v1/jobs/{job_id}/cancel", context)
    looks: list[float] = []
    started = world.clock.time
    while checks:
        message, delay = checks.pop()
        world.clock.advance(delay)
        looks.append((world.clock.time - started).total_seconds())
        handle(message, context)
    assert sum(at < 60 for at in looks) >= 4
    assert looks[-1] >= settings().generation_deadline_seconds
    assert len(looks) <= 13


@pytest.mark.parametrize("fault", ["cancellations fail", "S3 fails"])
def test_cleanup_remembers_predictions_of_the_newer_record(
    world: World, context: SimpleNamespace, checks: Checks, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    job_id = world.new_job()
    checks.clear()
    with monkeypatch.context() as patch:
        patch.setattr(table, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            owner.delete(world.job(job_id))
    generate.handler(sqs_event(s3_notification(job_id)), context)
    if fault == "cancellations fail":
        cancels_answered(world, *[httpx.Response(503)] * 3)
    else:
        message = checks.pop()[0]
        with monkeypatch.context() as patch:
            patch.setattr(bucket, "remove_all", down)
            handle(message, context)
    drain(world, checks, context)
    assert table.get(job_id) is None
    assert stopped(world) == {"p0", "p1", "p2"}


def test_cleanup_cancels_while_s3_is_down(
    world: World, context: SimpleNamespace, job_id: str, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("DELETE", f"/api/v1/jobs/{job_id}", context)
    monkeypatch.setattr(bucket, "remove_all", down)
    drain(world, checks, context, 60)
    assert stopped(world) == {"p0", "p1", "p2"}


def test_record_that_cannot_be_deleted_makes_few_looks(
    world: World, context: SimpleNamespace, job_id: str, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        looks.append(world.clock.time)
        assert len(looks) < 100
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    looks: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(table, "delete", refused)
        with pytest.raises(EndpointConnectionError):
            owner.delete(world.job(job_id))
        drain(world, checks, context, 60)
        assert stopped(world) == {"p0", "p1", "p2"}
        assert world.object_keys()  # the job can still be read
        drain(world, checks, context, 3600)
    assert len(looks) <= 20


def test_record_is_deleted_after_an_outage(
    world: World, context: SimpleNamespace, job_id: str, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = table.delete
    ends_at = world.clock.time + timedelta(seconds=900)

    def refused(*given: Any, **named: Any) -> None:
        if world.clock.time < ends_at:
            raise EndpointConnectionError(endpoint_url="https://dynamodb")
        delete(*given, **named)

    monkeypatch.setattr(table, "delete", refused)
    with pytest.raises(EndpointConnectionError):
        owner.delete(world.job(job_id))
    drain(world, checks, context, 1300)
    assert table.get(job_id) is None
    assert world.object_keys() == []


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_early_404_does_not_end_a_cancellation(
    world: World, context: SimpleNamespace, job_id: str, checks: Checks, how: str
) -> None:
    cancels_answered(world, *[httpx.Response(404, json={"detail": "Not found."})] * 3)
    end_by(how, job_id, context)
    drain(world, checks, context)
    assert stopped(world) == {"p0", "p1", "p2"}


@pytest.mark.parametrize("how", ["cancel", "delete"])
@pytest.mark.parametrize(("lag", "within"), [(10, 60), (30, 60), (60, 600)])  # seconds
def test_prediction_that_is_listed_late_is_soon_canceled(  # fixtures
    world: World, context: SimpleNamespace, checks: Checks, how: str, lag: int, within: int
) -> None:
    Account(world, lag=timedelta(seconds=lag))
    job_id = lose_all(world, context)
    checks.clear()
    end_by(how, job_id, context)
    drain(world, checks, context, within)
    assert stopped(world) == {"p0", "p1", "p2"}


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_doubt_of_five_minutes_ago_is_found_and_canceled(
    world: World, context: SimpleNamespace, checks: Checks, how: str
) -> None:
    job_id = lose_all(world, context)
    world.clock.advance(300)  # no message came, or the list could not be read
    checks.clear()
    end_by(how, job_id, context)
    drain(world, checks, context, 600)
    assert stopped(world) == {"p0", "p1", "p2"}


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_absent_prediction_of_five_minutes_ago_costs_one_look(
    world: World, context: SimpleNamespace, checks: Checks, how: str
) -> None:
    job_id = lose_all(world, context)
    world.replicate.forget_all()
    world.clock.advance(300)  # since then, the list holds every prediction
    checks.clear()
    world.replicate.requests.clear()
    end_by(how, job_id, context)
    drain(world, checks, context, 600)
    reads = [request.url.path for request in world.replicate.requests]
    assert reads == ["/v1/predictions"]


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_prediction_that_was_never_created_costs_a_dozen_looks(
    world: World, context: SimpleNamespace, checks: Checks, how: str
) -> None:
    job_id = lose_all(world, context)
    world.replicate.forget_all()
    checks.clear()
    world.replicate.requests.clear()
    end_by(how, job_id, context)
    drain(world, checks, context)
    reads = [request.method for request in world.replicate.requests]
    assert set(reads) == {"GET"}
    assert 4 <= len(reads) <= 12


def end_by(how: str, job_id: str, context: SimpleNamespace) -> None:
    if how == "cancel":
        call("POST", f"/api/v1/jobs/{job_id}/cancel", context)
    else:
        call("DELETE", f"/api/v1/jobs/{job_id}", context)


def lose_all(world: World, context: SimpleNamespace) -> str:
    """Create a job whose three predictions exist, while each POST was answered with 503."""
    world.replicate.after_create = lambda _: httpx.Response(503)
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    world.clock.advance(3)
    assert len(world.replicate.predictions) == 3
    return job_id


# ── nothing is paid for twice ──


@pytest.mark.parametrize("skew", [0, 30, 55])
def test_list_that_lags_on_a_clock_ahead_proves_nothing(
    world: World, context: SimpleNamespace, checks: Checks, skew: int
) -> None:
    world.replicate.ahead = timedelta(seconds=skew)
    Account(world, lag=timedelta(seconds=45))
    job_id = lose_all(world, context)
    for _ in range(6):
        world.clock.advance(10)
        generate.handler(sqs_event(s3_notification(job_id), receives=2), context)
    assert len(world.replicate.creates) == 3


def finish_all(world: World) -> None:
    for name in list(world.replicate.predictions):
        world.replicate.finish(name)


def test_second_retry_still_asks_for_the_old_output(
    world: World,
    context: SimpleNamespace,
    job_id: str,
    checks: Checks,
    tasks: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GENERATION_DEADLINE_SECONDS", "600")
    settings.cache_clear()
    finish_all(world)
    fail_all(world, job_id, FailureKind.OUTPUT_UNAVAILABLE)
    world.replicate.on_download = lambda _: httpx.Response(503)
    owner.retry(world.job(job_id))
    drain(world, checks, context)
    assert world.job(job_id).status is JobStatus.FAILED
    world.replicate.on_download = lambda _: streamed(PNG)
    owner.retry(world.job(job_id))
    continue_tasks(tasks, context)
    drain(world, checks, context)
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == 3


def test_one_cut_download_after_a_retry_does_not_pay_again(
    world: World, context: SimpleNamespace, job_id: str, checks: Checks, tasks: list[tuple[str, str]]
) -> None:
    finish_all(world)
    message = queues.WatchdogMessage(job_id=job_id, born_at=world.job(job_id).watched_since)
    world.replicate.on_download = lambda _: streamed(PNG[:-20])
    for _ in range(5):
        world.clock.advance(200)
        handle(message, context)
    assert world.job(job_id).status is JobStatus.FAILED
    checks.clear()
    owner.retry(world.job(job_id))
    drain(world, checks, context, 3)  # one more look, cut again
    world.replicate.on_download = lambda _: streamed(PNG)
    handle(queues.WatchdogMessage(job_id=job_id, born_at=world.job(job_id).watched_since), context)
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == 3


def test_two_outputs_of_one_post_never_share_a_key(
    world: World, context: SimpleNamespace, checks: Checks
) -> None:
    job_id = world.new_job()
    world.replicate.after_create = lambda _: httpx.Response(502)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    add_double(world)
    ended = [Prediction.model_validate(world.replicate.finish(name)) for name in ("p0", "double")]
    job = world.job(job_id)
    (tag,) = ended[0].tags
    first, second = (collect.result(job, tag, one, TimeBudget(5)) for one in ended)
    assert isinstance(first, OutputStored)
    assert isinstance(second, OutputStored)
    assert first.output.key != second.output.key
    record.move_on(job, first)
    record.move_on(job, second)  # removes its own output only
    assert world.object_keys(f"{bucket.OUTPUTS}/") == [first.output.key]


def test_late_copy_of_a_retry_spares_the_next_output(
    world: World, context: SimpleNamespace, job_id: str, checks: Checks
) -> None:
    finish_all(world)
    prediction = Prediction.model_validate(world.replicate.finish("p0"))
    (tag,) = prediction.tags

    def retried() -> Job:
        """Retry after the deadline: the retry asks for the same prediction's output again."""
        world.clock.advance(1801)
        job = world.job(job_id)
        record.move_on(job, DeadlinePassed(job.retries))
        after = owner.retry(world.job(job_id))
        assert after
        assert after.images[tag.image].status is ImageStatus.GENERATING
        return after

    late_job = retried()
    late = collect.result(late_job, tag, prediction, TimeBudget(5))
    again = retried()
    stored = record.move_on(again, collect.result(again, tag, prediction, TimeBudget(5))).job
    assert stored
    output = stored.images[tag.image].output
    assert output
    assert isinstance(late, OutputStored)
    # As the paused invocation does, which read the job before the second retry.
    bucket.remove_output(late.output)
    assert output.key in world.object_keys(f"{bucket.OUTPUTS}/")


def test_copy_from_before_a_retry_is_not_kept(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, checks: Checks, tasks: Any
) -> None:
    """Two webhooks of one prediction copy its output. One removes its copy, after the other is stored in the same place."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    read_by_both = world.job(job_id)
    image = read_by_both.images[0]
    assert image.prediction_id
    key = bucket.output_key(read_by_both, 0, image.prediction_id, "image/png")

    def copied() -> OutputStored:
        output = bucket.store_output(key, "image/png", len(PNG), io.BytesIO(PNG))
        return OutputStored(0, 1, image.prediction_id or "", output)

    world.clock.advance(1801)
    record.move_on(read_by_both, DeadlinePassed(0))
    first, remove = copied(), bucket.remove_output

    def removed_late(output: Output) -> None:
        monkeypatch.setattr(bucket, "remove_output", remove)
        owner.retry(world.job(job_id))
        record.move_on(read_by_both, copied())
        remove(output)

    monkeypatch.setattr(bucket, "remove_output", removed_late)
    record.move_on(read_by_both, first)
    assert world.job(job_id).images[0].status is ImageStatus.GENERATING
    assert world.object_keys(f"{bucket.OUTPUTS}/") == []


def add_double(world: World) -> Tag:
    """Let the POST of p0 have created a second prediction; return the tag of both."""
    twin = world.replicate.account.predictions["p0"]
    (tag,) = Prediction.model_validate(world.replicate.account.view(twin)).tags
    world.replicate.account.add(dataclasses.replace(twin, id="double"))
    return tag


def test_failed_cancel_of_a_double_is_tried_again(
    world: World, context: SimpleNamespace, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, str, dict[str, int]]] = []
    monkeypatch.setattr(queues, "send_doubled", lambda *given, **_: sent.append(given))
    Account(world)
    job_id = lose_all(world, context)
    tag = add_double(world)
    cancels_answered(world, httpx.Response(503))
    generate.handler(sqs_event(s3_notification(job_id), receives=2), context)
    assert world.job(job_id).images[tag.image].prediction_id
    ((job, key, doubled),) = sent
    assert doubled == dict.fromkeys(("p0", "double"), tag.image)
    (double,) = doubled.keys() - {image.prediction_id for image in world.job(job_id).images}
    assert stopped(world) == set()
    message = {"job_id": job, "original_s3_key": key, "doubled": doubled}
    cancels_answered(world, httpx.Response(503))
    assert generate.handler(sqs_event(message), context)["batchItemFailures"]  # SQS delivers it again
    assert generate.handler(sqs_event(message, receives=2), context) == {"batchItemFailures": []}
    assert stopped(world) == {double}
    assert not stopped(world) & {image.prediction_id for image in world.job(job_id).images}


def test_death_between_adoption_and_cancel_leaves_no_double(
    world: World, context: SimpleNamespace, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, int]] = []
    monkeypatch.setattr(queues, "send_doubled", lambda _job, _key, doubled, **_: sent.append(doubled))
    job_id = lose_all(world, context)
    add_double(world)
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "cancel_all", killed)
        with pytest.raises(KeyboardInterrupt):
            generate.handler(sqs_event(s3_notification(job_id), receives=2), context)
    assert all(image.prediction_id for image in world.job(job_id).images)
    (doubled,) = sent
    message = {"job_id": job_id, "original_s3_key": world.job(job_id).photo.key, "doubled": doubled}
    assert generate.handler(sqs_event(message), context) == {"batchItemFailures": []}
    assert stopped(world) == doubled.keys() - {image.prediction_id for image in world.job(job_id).images}
    assert len(stopped(world)) == 1


def test_double_that_a_webhook_adopts_first_stays(
    world: World, context: SimpleNamespace, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webhook of the second arrives between the reading of the list and the write that would adopt the first."""
    job_id = lose_all(world, context)
    tag = add_double(world)
    sent: list[dict[str, int]] = []

    def send(_job: str, _key: str, doubled: dict[str, int], **_: object) -> None:
        if not sent:
            other = [*doubled][-1]
            record.move_on(world.job(job_id), PredictionCreated(tag.image, tag.attempt, other))
        sent.append(doubled)

    monkeypatch.setattr(queues, "send_doubled", send)
    generate.handler(sqs_event(s3_notification(job_id), receives=2), context)
    (doubled,) = sent
    taken = world.job(job_id).images[tag.image].prediction_id
    message = {"job_id": job_id, "original_s3_key": world.job(job_id).photo.key, "doubled": doubled}
    assert generate.handler(sqs_event(message), context) == {"batchItemFailures": []}
    assert stopped(world) == {"p0", "double"} - {taken}


def test_prediction_of_an_image_in_doubt_is_no_double(
    world: World, context: SimpleNamespace, checks: Checks
) -> None:
    job_id = lose_all(world, context)

    def cancel(name: str) -> object:
        message = {"job_id": job_id, "original_s3_key": world.job(job_id).photo.key, "doubled": {name: 0}}
        return generate.handler(sqs_event(message), context)["batchItemFailures"]

    assert cancel("p0")  # SQS delivers it again
    assert stopped(world) == set()
    generate.handler(sqs_event(s3_notification(job_id), receives=2), context)
    assert not cancel(world.job(job_id).images[0].prediction_id or "")
    assert stopped(world) == set()


def test_double_is_canceled_until_it_must_have_ended(
    world: World, context: SimpleNamespace, checks: Checks
) -> None:
    """A message that SQS delivers 20 times in vain becomes a dead letter, which an operator would have to look at."""
    job_id = lose_all(world, context)
    message = {"job_id": job_id, "original_s3_key": world.job(job_id).photo.key, "doubled": {"p0": 0}}

    def cancel(seconds_ago: float) -> object:
        sent_at = world.clock.time - timedelta(seconds=seconds_ago)
        return generate.handler(sqs_event(message, sent_at=sent_at), context)["batchItemFailures"]

    assert cancel(LONGEST_RUN.total_seconds() - 1)
    assert cancel(LONGEST_RUN.total_seconds()) == []


HOST, SIZE = ("ALLOWED_OUTPUT_HOSTS", "example.com"), ("MAX_OUTPUT_BYTES", "10")


def set_parameter(monkeypatch: pytest.MonkeyPatch, parameter: tuple[str, str]) -> None:
    monkeypatch.setenv(*parameter)
    settings.cache_clear()


def refuse_outputs(world: World, context: SimpleNamespace, job_id: str) -> None:
    finish_all(world)
    handle(queues.WatchdogMessage(job_id=job_id, born_at=world.job(job_id).watched_since), context)
    (code,) = {image.error and image.error.code for image in world.job(job_id).images}
    assert code in {"output_host_not_allowed", "output_too_large"}


@pytest.mark.parametrize("parameter", [HOST, SIZE])
def test_retry_takes_the_output_that_a_wrong_parameter_refused(
    world: World,
    context: SimpleNamespace,
    job_id: str,
    checks: Checks,
    tasks: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    parameter: tuple[str, str],
) -> None:
    with monkeypatch.context() as patch:
        set_parameter(patch, parameter)
        refuse_outputs(world, context, job_id)
    settings.cache_clear()
    owner.retry(world.job(job_id))
    continue_tasks(tasks, context)
    drain(world, checks, context, 3)
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == 3


@pytest.mark.parametrize(
    ("parameter", "again"),
    [
        (HOST, 0),  # another output would be at the same host
        (SIZE, 3),  # another one may be smaller
    ],
)
def test_retry_of_outputs_that_are_still_refused(  # noqa: PLR0913, PLR0917  # fixtures
    world: World,
    context: SimpleNamespace,
    job_id: str,
    checks: Checks,
    tasks: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    parameter: tuple[str, str],
    again: int,
) -> None:
    set_parameter(monkeypatch, parameter)
    refuse_outputs(world, context, job_id)
    owner.retry(world.job(job_id))
    drain(world, checks, context, 3)
    continue_tasks(tasks, context)
    assert len(world.replicate.creates) == 3 + again


@pytest.mark.parametrize("teller", ["webhook", "look"])
def test_lost_output_of_a_retry_is_requested_again_at_once(
    world: World,
    context: SimpleNamespace,
    job_id: str,
    checks: Checks,
    tasks: list[tuple[str, str]],
    teller: str,
) -> None:
    fail_all(world, job_id, FailureKind.DEADLINE_EXCEEDED)
    owner.retry(world.job(job_id))
    continue_tasks(tasks, context)
    drain(world, checks, context, 3)  # the first look: the old predictions still run
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == 3
    job = world.job(job_id)
    (lost, *_) = [image.prediction_id or "" for image in job.images]
    ended = world.replicate.finish(lost, status="canceled", output=None)
    if teller == "webhook":
        assert webhook.handler(webhook_for(ended, world.clock), context)["statusCode"] == 200
    else:
        handle(queues.WatchdogMessage(job_id=job_id, born_at=job.watched_since), context)
    assert tasks == [(job_id, job.photo.key)]
    continue_tasks(tasks, context)
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == 3
    assert len(world.replicate.creates) == 4


@pytest.mark.parametrize("exists", [True, False])
def test_retry_settles_a_doubt_of_the_deadline_first(
    world: World,
    context: SimpleNamespace,
    checks: Checks,
    tasks: list[tuple[str, str]],
    exists: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    Account(world)
    job_id = lose_all(world, context)
    finish_all(world)
    if not exists:
        world.replicate.forget_all()
    world.replicate.after_create = lambda _: None
    world.replicate.on_read = lambda _: httpx.Response(503)  # no look can settle the doubt
    drain(world, checks, context, 2400)
    job = world.job(job_id)
    assert {image.error.code for image in job.images if image.error} == {"deadline_exceeded"}
    world.replicate.on_read = lambda _: None
    tasks.clear()
    owner.retry(job)
    continue_tasks(tasks, context)
    if exists:
        drain(world, checks, context, 120)
        assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == (3 if exists else 6)


def test_refused_job_sends_no_post_for_a_lost_output(
    world: World, context: SimpleNamespace, job_id: str, checks: Checks, tasks: list[tuple[str, str]]
) -> None:
    old = world.job(job_id).images[0].prediction_id or ""
    world.replicate.finish(old)
    failed = FailureKind.PREDICTION_FAILED
    fail_all(world, job_id, FailureKind.OUTPUT_UNAVAILABLE, failed, failed)
    owner.retry(world.job(job_id))
    world.replicate.before_create = lambda _: httpx.Response(402, json={"title": "Insufficient credit"})
    continue_tasks(tasks, context)
    refused = len(world.replicate.creates)
    world.replicate.before_create = lambda _: None
    world.replicate.change(old, output=None)
    drain(world, checks, context)
    continue_tasks(tasks, context)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert {image.error.code for image in job.images if image.error} == {"replicate_out_of_credit"}
    assert len(world.replicate.creates) == refused


def test_copy_that_outlives_its_deleted_job_is_removed(
    world: World, context: SimpleNamespace, checks: Checks, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda can freeze a thread of the watchdog in the middle of the upload to S3, and thaw it much later."""
    time = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    store = bucket.store_output

    def frozen(*given: Any) -> Output:
        time[0] += 3600
        call("DELETE", f"/api/v1/jobs/{job_id}", context)
        drain(world, checks, context, 3600)
        assert checks == []
        return store(*given)

    monkeypatch.setattr(bucket, "store_output", frozen)
    ended = Prediction.model_validate(world.replicate.finish("p0"))
    (tag,) = ended.tags
    with pytest.raises(OutputUnavailableError):
        collect.result(world.job(job_id), tag, ended, TimeBudget(5))
    assert world.object_keys() == []


# ── a photo is refused only for itself ──


def test_missing_decoder_is_no_unreadable_photo(
    world: World, context: SimpleNamespace, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = picture("HEIF")
    request = JobRequest(content_type="image/heic", size=len(photo))
    job = create_job.create_job("ann", request, None)
    world.s3.put_object(Bucket=BUCKET, Key=job.photo.key, Body=photo)
    pixels._register_heif.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    others = {name: one for name, one in PIL.Image.OPEN.items() if name != "HEIF"}
    monkeypatch.setattr(PIL.Image, "OPEN", others)
    body = {"job_id": job.job_id, "original_s3_key": job.photo.key}
    answer = generate.handler(sqs_event(body), context)
    pixels._register_heif.cache_clear()
    assert answer["batchItemFailures"]
    assert world.job(job.job_id).status is JobStatus.AWAITING_UPLOAD


def test_full_disk_is_no_unreadable_photo(
    world: World, context: SimpleNamespace, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    job_id = world.new_job()
    monkeypatch.setattr(inspection, "_decode", full)
    assert generate.handler(sqs_event(s3_notification(job_id)), context)["batchItemFailures"]
    assert world.job(job_id).status is JobStatus.AWAITING_UPLOAD


def during_inspection(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    inspect = inspection.inspect

    def meanwhile(*args: Any, **options: Any) -> inspection.Finding:
        do()
        return inspect(*args, **options)

    monkeypatch.setattr(inspection, "inspect", meanwhile)


def test_opening_under_way_at_the_deadline_is_no_death(
    world: World, context: SimpleNamespace, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job()
    (message, _), *_ = checks
    world.clock.advance(1799)

    def deadline() -> None:
        world.clock.advance(2)
        handle(message, context)

    during_inspection(monkeypatch, deadline)
    generate.handler(sqs_event(s3_notification(job_id), receives=2), context)
    job = world.job(job_id)
    assert job.failure
    assert job.failure.code == "deadline_exceeded"
    assert is_retryable(job)


def test_death_after_the_inspection_does_not_count(
    world: World, context: SimpleNamespace, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job()
    with monkeypatch.context() as patch:
        patch.setattr(generation, "advance", killed)
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                open_photo.photo_arrived(job_id, world.job(job_id).photo.key, Pace(), again=True)
            world.clock.advance(61)
    open_photo.photo_arrived(job_id, world.job(job_id).photo.key, Pace(), again=True)
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == 3


def test_event_of_the_old_photo_starts_no_job(world: World, context: SimpleNamespace, checks: Checks) -> None:
    request = JobRequest(content_type="image/jpeg", size=len(JPEG))
    old = create_job.create_job("ann", request, "again")
    world.s3.put_object(Bucket=BUCKET, Key=old.photo.key, Body=JPEG)
    world.expire(old.job_id)
    assert create_job.create_job("ann", request, "again").job_id == old.job_id
    generate.handler(sqs_event({"job_id": old.job_id, "original_s3_key": old.photo.key}), context)
    assert world.job(old.job_id).status is JobStatus.AWAITING_UPLOAD
    assert world.replicate.creates == []

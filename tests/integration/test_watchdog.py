"""The watchdog: every job ends, even if events and webhooks are lost."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

import generate
import watchdog
from tests.integration.looking import handle, look
from tests.support.events import s3_notification, sqs_event
from tests.support.fake_replicate import streamed
from tests.support.function_environment import BUCKET
from tests.support.photos import JPEG, PNG
from tests.support.world import World
from triptych.aws import bucket, queues, table
from triptych.deadlines import deadline
from triptych.flows import collect, open_photo, owner, record, watch
from triptych.flows import generate as generation
from triptych.flows.watch import FATAL_RECEIVES
from triptych.job import DeadlinePassed, ImageStatus, Job, JobStatus, is_retryable
from triptych.pace import Pace
from triptych.photo import inspection
from triptych.replicate import predictions
from triptych.replicate.downloads import OutputUnavailableError
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime import budget, clock
from triptych.settings import settings


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The delay in seconds of each message to the watchdog."""
    seen: list[int] = []
    monkeypatch.setattr(queues, "send_to_watchdog", lambda _message, *, delay: seen.append(delay))
    return seen


@pytest.fixture
def running(world: World, context: SimpleNamespace, delays: list[int]) -> str:
    """Create a job whose three predictions run."""
    job_id = world.new_job()
    delays.clear()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    started_at = world.job(job_id).started_at  # S3's time, which is the machine's
    assert started_at
    world.clock.time = started_at + timedelta(seconds=300)
    return job_id


def test_messages_about_an_owners_jobs_form_one_group(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(queues._sqs(), "send_message", lambda **request: sent.append(request))

    def groups() -> list[str]:
        own = [one["MessageGroupId"] for one in sent if one["QueueUrl"] == world.queues["watchdog"]]
        sent.clear()
        return own

    world.new_job(owner="bob")
    (bob,) = groups()
    job_id = world.new_job()
    created = sent[0]["MessageBody"]
    watchdog.handler(sqs_event(created), context)  # looks again later
    generate.handler(sqs_event(s3_notification(job_id)), context)
    record.move_on(world.job(job_id), DeadlinePassed(0))
    world.clock.advance(1)
    owner.retry(world.job(job_id))
    owner.cancel(world.job(job_id))
    owner.delete(world.job(job_id))
    ann, *others = groups()
    assert others == [ann] * 4
    assert ann != bob
    assert not {"ann", "bob"} & {ann, bob}  # SQS keeps attributes outside the encrypted body


def test_job_without_any_webhook_succeeds(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    look(world, running, context)
    job = world.job(running)
    assert job.status is JobStatus.SUCCEEDED
    assert all(
        world.s3.get_object(Bucket=BUCKET, Key=image.output.key)["Body"].read() == PNG
        for image in job.images
        if image.output
    )
    assert len(world.replicate.creates) == 3
    assert delays == []


def test_look_whose_time_is_used_up_still_copies_outputs(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, time = generation.advance, [0.0]

    def slowly(*given: Any, **named: Any) -> Any:
        time[0] += watch.LOOK_SECONDS
        return advance(*given, **named)

    monkeypatch.setattr(generation, "advance", slowly)
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    monkeypatch.setattr(budget, "run_in_threads", lambda tasks, _seconds: [task() for task in tasks])
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    look(world, running, context)
    assert world.job(running).status is JobStatus.SUCCEEDED


def test_running_predictions_are_checked_again(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    world.replicate.finish("p0")
    look(world, running, context)
    assert len(world.job(running).having(ImageStatus.STORED)) == 1
    assert delays == [300]


def test_last_check_is_at_the_deadline(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    world.clock.advance(1400)
    look(world, running, context)
    assert 0 < delays[0] <= 110  # the deadline counts from S3's time of the upload, which is real time


def test_deadline_ends_the_job_and_cancels_running_predictions(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    world.replicate.ahead = timedelta(minutes=-10)  # so Cancel-After does not end p2 first
    world.replicate.finish("p0")
    look(world, running, context)
    delays.clear()
    world.replicate.finish("p1")
    world.clock.advance(1800)
    look(world, running, context)
    job = world.job(running)
    assert job.status is JobStatus.PARTIAL
    assert len(job.having(ImageStatus.STORED)) == 2  # p1 finished just before the deadline
    assert delays == []
    canceled = [r.url.path for r in world.replicate.requests if r.url.path.endswith("/cancel")]
    assert canceled == ["/v1/predictions/p2/cancel"]


def test_ended_job_is_left_alone(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    world.clock.advance(1800)
    look(world, running, context)
    requests, before = len(world.replicate.requests), world.job(running)
    look(world, running, context)
    assert len(world.replicate.requests) == requests
    assert world.job(running) == before
    assert delays == []


def test_missing_upload_expires_the_job(world: World, context: SimpleNamespace, delays: list[int]) -> None:
    job_id = world.new_job(photo=None)
    delays.clear()
    world.clock.advance(300)
    look(world, job_id, context)
    assert world.job(job_id).status is JobStatus.AWAITING_UPLOAD
    assert delays == [300]
    world.clock.advance(1199)
    look(world, job_id, context)
    assert world.job(job_id).status is JobStatus.AWAITING_UPLOAD
    assert delays == [300, 2]
    world.clock.advance(1)
    look(world, job_id, context)
    assert world.job(job_id).status is JobStatus.EXPIRED
    assert delays == [300, 2]
    assert world.replicate.requests == []


def test_upload_with_a_lost_event_is_found(world: World, context: SimpleNamespace, delays: list[int]) -> None:
    job_id = world.new_job()
    delays.clear()
    world.clock.advance(1600)  # no upload is under way any more
    look(world, job_id, context)
    assert delays == [300]
    (message,) = world.messages("generation")
    assert generate.handler(sqs_event(message), context) == {"batchItemFailures": []}
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == 3
    look(world, job_id, context)
    assert world.messages("generation") == []


def test_unopened_upload_fails_at_the_deadline(
    world: World, context: SimpleNamespace, delays: list[int]
) -> None:
    job_id = world.new_job()
    delays.clear()
    world.clock.advance(1900)  # the deadline counts from the upload
    look(world, job_id, context)
    job = world.job(job_id)
    assert job.failure
    assert (job.status, job.failure.code) == (JobStatus.FAILED, "deadline_exceeded")
    assert is_retryable(job)
    assert delays == []


@pytest.mark.parametrize("photo", [JPEG, b"%PDF"], ids=["a photo", "no photo"])
def test_retry_inspects_a_photo_that_was_never_opened(
    world: World, context: SimpleNamespace, delays: list[int], photo: bytes
) -> None:
    job_id = world.new_job(photo=photo)
    world.clock.advance(1900)
    look(world, job_id, context)
    retried = owner.retry(world.job(job_id))
    assert retried
    assert retried.status is JobStatus.GENERATING
    look(world, job_id, context)  # it must not request predictions for an uninspected photo
    assert world.replicate.creates == []
    generate.handler(sqs_event(s3_notification(job_id)), context)
    job = world.job(job_id)
    if photo == JPEG:
        assert len(world.replicate.creates) == len(job.having(ImageStatus.GENERATING)) == 3
    else:
        assert (job.status, job.failure and job.failure.code) == (JobStatus.FAILED, "photo_unsupported")
        assert world.replicate.creates == []


def test_photo_whose_opening_died_may_be_retried_after_the_deadline(
    world: World, context: SimpleNamespace, delays: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job()

    def die(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(inspection, "inspect", die)
        with pytest.raises(KeyboardInterrupt):
            open_photo.photo_arrived(job_id, f"uploads/{job_id}/photo.jpg", Pace(), again=True)
    world.clock.advance(1900)
    look(world, job_id, context)
    job = world.job(job_id)
    assert job.failure
    assert (job.status, job.failure.code) == (JobStatus.FAILED, "deadline_exceeded")
    assert is_retryable(job)


def test_retried_job_whose_photo_has_vanished_ends_at_its_deadline(
    world: World, context: SimpleNamespace, delays: list[int]
) -> None:
    job_id = world.new_job()
    world.clock.advance(1900)
    look(world, job_id, context)
    assert owner.retry(world.job(job_id))
    bucket.remove_all(job_id)
    look(world, job_id, context)
    assert world.job(job_id).status is JobStatus.GENERATING
    world.clock.advance(1900)
    look(world, job_id, context)
    assert world.job(job_id).status is JobStatus.FAILED


def test_looks_become_ever_less_often(world: World, context: SimpleNamespace, delays: list[int]) -> None:
    job_id = world.new_job()
    assert delays == [60]
    generate.handler(sqs_event(s3_notification(job_id)), context)
    delays.clear()
    for wait in (60, 60, 120, 240, 300):
        world.clock.advance(wait)
        look(world, job_id, context)
    # The photo arrived a moment after the job was created.
    assert [round(delay, -1) for delay in delays] == [60, 120, 240, 300, 300]


@pytest.mark.parametrize(
    "download",
    [
        lambda _: streamed(PNG[:-20]),
        lambda _: streamed(b""),
        lambda _: httpx.Response(404),
        lambda _: httpx.Response(410),
    ],
    ids=["cut", "empty", "404", "410"],
)
def test_output_that_stays_broken_fails_at_the_fifth_look(
    world: World, context: SimpleNamespace, running: str, download: Any
) -> None:
    world.replicate.on_download = download
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    for _ in range(4):
        look(world, running, context)
        assert world.job(running).status is JobStatus.GENERATING
        world.clock.advance(200)
    look(world, running, context)
    job = world.job(running)
    assert {image.error.code for image in job.images if image.error} == {"output_unavailable"}
    assert job.status is JobStatus.FAILED


def test_look_that_sqs_delivers_again_counts_once(
    world: World, context: SimpleNamespace, running: str
) -> None:
    world.replicate.on_download = lambda _: httpx.Response(404)
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    for _ in range(6):
        look(world, running, context)
        world.clock.advance(10)
    assert [image.broken for image in world.job(running).images] == [1, 1, 1]
    assert world.job(running).status is JobStatus.GENERATING


def test_output_of_a_failing_host_is_awaited(world: World, context: SimpleNamespace, running: str) -> None:
    world.replicate.on_download = lambda _: httpx.Response(503)
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    for _ in range(6):
        look(world, running, context)
    assert world.job(running).status is JobStatus.GENERATING
    world.replicate.on_download = lambda _: streamed(PNG)
    look(world, running, context)
    assert world.job(running).status is JobStatus.SUCCEEDED


def test_generation_killed_after_the_intention_is_continued(
    world: World, context: SimpleNamespace, delays: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job()

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predictions, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            open_photo.photo_arrived(job_id, f"uploads/{job_id}/photo.jpg", Pace())
    look(world, job_id, context)
    assert world.replicate.creates == []  # the POST may be under way
    world.clock.advance(300)
    look(world, job_id, context)
    assert len(world.replicate.predictions) == 3
    assert [image.attempt for image in world.job(job_id).images] == [2, 2, 2]


@pytest.mark.parametrize("made", [True, False])
def test_list_settles_predictions_in_doubt(
    world: World,
    context: SimpleNamespace,
    delays: list[int],
    monkeypatch: pytest.MonkeyPatch,
    made: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    monkeypatch.setattr(queues, "put_back", lambda *_, **__: None)

    def cut(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut", request=request)

    if made:
        world.replicate.after_create = cut
    else:
        world.replicate.before_create = cut
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    world.replicate.after_create = world.replicate.before_create = lambda _: None
    world.clock.advance(300)
    look(world, job_id, context)
    assert len(world.replicate.predictions) == 3
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == 3


def test_prediction_unknown_to_replicate_has_failed(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    world.replicate.forget("p1")
    world.replicate.finish("p0")
    world.replicate.finish("p2")
    look(world, running, context)
    job = world.job(running)
    assert job.status is JobStatus.PARTIAL
    (lost,) = job.having(ImageStatus.FAILED)
    assert lost.error
    assert lost.error.code == "prediction_lost"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503),
        httpx.Response(429, headers={"retry-after": "86400"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(401),
    ],
)
def test_outage_of_replicate_is_waited_out(
    world: World, context: SimpleNamespace, running: str, delays: list[int], answer: httpx.Response
) -> None:
    world.replicate.on_read = lambda _: httpx.Response(
        answer.status_code, headers=answer.headers, content=answer.content
    )
    look(world, running, context)
    assert world.job(running).status is JobStatus.GENERATING
    assert delays == [300]
    world.replicate.on_read = lambda _: None
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    look(world, running, context)
    assert world.job(running).status is JobStatus.SUCCEEDED


def test_outage_beyond_the_deadline_fails_the_job(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    world.replicate.handle = down  # type: ignore[method-assign]  # every request fails
    world.clock.advance(1800)
    look(world, running, context)
    assert world.job(running).status is JobStatus.FAILED
    assert delays == []


def test_internal_error_beyond_the_deadline_fails_the_job(
    world: World,
    context: SimpleNamespace,
    running: str,
    delays: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(generation, "advance", broken)
    look(world, running, context)
    assert world.job(running).status is JobStatus.GENERATING
    world.clock.advance(1800)
    look(world, running, context)
    assert world.job(running).status is JobStatus.FAILED


def test_internal_error_at_the_deadline_loses_no_output(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    for prediction_id in ("p0", "p1"):
        world.replicate.finish(prediction_id)
    monkeypatch.setattr(generation, "advance", broken)
    world.clock.advance(1800)
    look(world, running, context)
    assert len(world.job(running).having(ImageStatus.STORED)) == 2


@pytest.mark.parametrize(("left", "wait"), [(False, 300), (True, 5)], ids=["a job", "a deletion"])
def test_failed_look_is_soon_repeated(
    world: World,
    context: SimpleNamespace,
    running: str,
    delays: list[int],
    monkeypatch: pytest.MonkeyPatch,
    *,
    left: bool,
    wait: int,
) -> None:
    """Three failures of one job in 15 minutes set off an alarm. After a deletion, predictions run and cost money."""
    monkeypatch.setenv("WATCHDOG_DELAY_SECONDS", "900")
    settings.cache_clear()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(record, "read", broken)
    born_at = world.clock.time if left else world.clock.time - timedelta(seconds=300)
    message = queues.WatchdogMessage(job_id=running, born_at=born_at, left=() if left else None)
    handle(message, context)
    assert delays == [wait]


def test_job_whose_looks_all_die_ends_and_loses_nothing(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        """What no handler may catch, as when Lambda kills a process."""

    def die(*_: Any, **__: Any) -> Any:
        raise Died

    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    with monkeypatch.context() as deadly:
        deadly.setattr(generation, "advance", die)
        with pytest.raises(Died):
            look(world, running, context, receives=FATAL_RECEIVES + 1)  # it may still find something
        world.clock.time = deadline(world.job(running))
        with pytest.raises(Died):
            look(world, running, context, receives=FATAL_RECEIVES)
        look(world, running, context, receives=FATAL_RECEIVES + 1)
    ended = world.job(running)
    assert ended.failure
    assert (ended.status, ended.failure.code) == (JobStatus.FAILED, "deadline_exceeded")
    owner.retry(ended)
    look(world, running, context)
    assert world.job(running).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == 3


@pytest.mark.parametrize(
    "error",
    [
        None,
        ClientError({}, "ChangeMessageVisibility"),
        EndpointConnectionError(endpoint_url="https://sqs"),
    ],
)
def test_message_of_a_look_is_hidden_for_a_shorter_time(
    world: World,
    context: SimpleNamespace,
    running: str,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
) -> None:
    done: list[object] = []
    read = record.read

    def noted(job_id: str) -> Job | None:
        done.append("read")
        return read(job_id)

    def changed(**request: object) -> None:
        done.append(request)
        if error:
            raise error

    monkeypatch.setattr(record, "read", noted)
    monkeypatch.setattr(queues._impatient_sqs(), "change_message_visibility", changed)
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    look(world, running, context)
    hidden = {"QueueUrl": world.queues["watchdog"], "ReceiptHandle": "receipt", "VisibilityTimeout": 45}
    assert done[:2] == [hidden, "read"]  # a look may die anywhere
    assert world.job(running).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("slow", ["advance", "get", "lost", "result"])
def test_late_look_spares_a_job_that_was_retried_meanwhile(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    job = world.job(running)
    world.clock.time = deadline(job)
    module = {"advance": generation, "result": collect}.get(slow, predictions)
    name = "get" if slow == "lost" else slow

    def unreadable(_: str) -> Any:
        raise ReplicateUnavailableError

    def no_output(*_: Any) -> Any:
        raise OutputUnavailableError

    def reread(*_: Any, **__: Any) -> Job:
        """Return the job as `advance` does after a lost race."""
        return world.job(running)

    def unknown(_: str) -> None:
        """Answer 404."""

    then = {"advance": reread, "get": unreadable, "lost": unknown, "result": no_output}[slow]

    def asked(*args: Any, **options: Any) -> Any:
        """Let another look end the job, and its owner retry it, before the first answer."""
        monkeypatch.setattr(module, name, then)
        record.move_on(job, DeadlinePassed(0))
        world.clock.advance(1)
        owner.retry(world.job(running))
        return then(*args, **options)

    monkeypatch.setattr(collect, "result", no_output)
    monkeypatch.setattr(module, name, asked)
    look(world, running, context)
    retried = world.job(running)
    assert len(retried.having(ImageStatus.GENERATING)) == 3
    assert not [one for one in world.replicate.requests if one.url.path.endswith("/cancel")]


@pytest.mark.parametrize("there", [True, False], ids=["uploaded", "not uploaded"])
def test_unchecked_upload_fails_and_can_be_retried(
    world: World,
    context: SimpleNamespace,
    delays: list[int],
    monkeypatch: pytest.MonkeyPatch,
    *,
    there: bool,
) -> None:
    job_id = world.new_job(photo=JPEG if there else None)

    def denied(_: str) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    with monkeypatch.context() as outage:
        outage.setattr(bucket, "look_at", denied)
        world.clock.advance(1600)
        look(world, job_id, context)
        assert world.job(job_id).status is JobStatus.AWAITING_UPLOAD
        world.clock.advance(600)
        look(world, job_id, context)
    failed = world.job(job_id)
    assert failed.failure
    assert (failed.status, failed.failure.code) == (JobStatus.FAILED, "deadline_exceeded")
    owner.retry(failed)
    (message,) = world.messages("generation")
    generate.handler(sqs_event(message), context)
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == (3 if there else 0)


def test_output_that_cannot_be_fetched_fails_as_unavailable(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    world.replicate.on_download = lambda _: httpx.Response(404)
    look(world, running, context)
    assert world.job(running).status is JobStatus.GENERATING
    world.clock.advance(1800)
    look(world, running, context)
    failure = world.job(running).failure
    assert failure
    assert failure.code == "output_unavailable"


@pytest.mark.parametrize("fault", ["next page is not a URL", "unreadable webhook URL", "S3 denies access"])
def test_malformed_answer_keeps_no_job_open(
    world: World,
    context: SimpleNamespace,
    running: str,
    delays: list[int],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    if fault == "S3 denies access":
        denied = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
        monkeypatch.setattr(bucket, "store_output", lambda *_: (_ for _ in ()).throw(denied))
    elif fault == "unreadable webhook URL":
        world.replicate.change("p0", webhook="http://[::1")
        world.replicate.account.echoes = True
    else:
        page = httpx.Response(200, json={"results": [], "next": "http://[::1"})
        world.replicate.on_read = lambda request: page if request.url.path == "/v1/predictions" else None
    look(world, running, context)
    world.clock.advance(1800)
    look(world, running, context)
    assert world.job(running).status.is_terminal


def test_failed_download_is_repeated(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    world.replicate.on_download = lambda request: (
        httpx.Response(503) if "p1" in request.url.path else streamed(PNG)
    )
    look(world, running, context)
    assert len(world.job(running).having(ImageStatus.STORED)) == 2
    world.replicate.on_download = lambda _: streamed(PNG)
    look(world, running, context)
    assert world.job(running).status is JobStatus.SUCCEEDED


def test_copy_of_a_message_has_no_successor(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    """Each of the copies comes again until the job ends. So they would become more and more."""
    message = {"job_id": running, "born_at": world.job(running).watched_since.isoformat()}

    def receive(sent_at: datetime) -> None:
        result = watchdog.handler(sqs_event(message, sent_at=sent_at), context)
        assert result == {"batchItemFailures": []}

    first = world.clock.time - timedelta(seconds=60)
    receive(first)
    (delay,) = delays
    second = world.clock.time
    receive(first)
    world.clock.advance(delay)
    receive(first)
    assert len(delays) == 1
    receive(second)
    assert len(delays) == 2
    receive(second)
    assert len(delays) == 2


def test_refused_successor_makes_no_message_a_copy(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = {"job_id": running, "born_at": world.job(running).watched_since.isoformat()}
    tries: list[int] = []

    def refuse(_: queues.WatchdogMessage, *, delay: int) -> None:
        tries.append(delay)
        raise EndpointConnectionError(endpoint_url="https://sqs")

    monkeypatch.setattr(queues, "send_to_watchdog", refuse)
    long_ago = world.clock.time - timedelta(seconds=60)
    for _ in range(2):
        result = watchdog.handler(sqs_event(message, sent_at=long_ago), context)
        assert result == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert len(tries) == 2


def test_message_about_something_else_is_no_copy(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    born_at, long_ago = world.job(running).watched_since, world.clock.time - timedelta(seconds=60)
    first = queues.WatchdogMessage(job_id=running, born_at=born_at)
    watchdog.handler(sqs_event(first.model_dump_json(), sent_at=long_ago), context)
    owner.cancel(world.job(running))
    delays.clear()
    canceled = queues.WatchdogMessage(job_id=running, born_at=born_at, canceled_at=world.clock.time)
    watchdog.handler(sqs_event(canceled.model_dump_json(), sent_at=long_ago), context)
    assert any(request.url.path.endswith("/cancel") for request in world.replicate.requests)


def test_unknown_job_is_dropped_after_a_minute(
    world: World, context: SimpleNamespace, delays: list[int]
) -> None:
    born = world.clock.time.isoformat()
    message = sqs_event({"job_id": "unknown", "born_at": born})
    watchdog.handler(message, context)
    assert delays == [5]  # its create request may still be under way
    world.clock.advance(61)
    watchdog.handler(message, context)
    assert delays == [5]


def test_internal_error_does_not_end_the_checks(
    world: World,
    context: SimpleNamespace,
    running: str,
    delays: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("a bug")

    message = {"job_id": running, "born_at": world.job(running).watched_since.isoformat()}
    monkeypatch.setattr(table, "get", broken)
    assert watchdog.handler(sqs_event(message), context) == {"batchItemFailures": []}
    assert delays == [300]


def test_replaced_message_is_dropped(
    world: World, context: SimpleNamespace, running: str, delays: list[int]
) -> None:
    stray = world.job(running).created_at - timedelta(seconds=1)
    watchdog.handler(sqs_event({"job_id": running, "born_at": stray.isoformat()}), context)
    assert delays == []


@pytest.mark.parametrize("body", ["", "{}", '{"job_id": "x"}', "[]"])
def test_unreadable_message_is_dropped(
    world: World, context: SimpleNamespace, delays: list[int], body: str
) -> None:
    assert watchdog.handler(sqs_event(body), context) == {"batchItemFailures": []}


def test_created_job_has_a_delayed_watchdog_message(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job(photo=None)
    attributes = world.sqs.get_queue_attributes(QueueUrl=world.queues["watchdog"], AttributeNames=["All"])[
        "Attributes"
    ]
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"
    assert (
        json.loads(queues.WatchdogMessage(job_id=job_id, born_at=world.clock.time).model_dump_json())[
            "job_id"
        ]
        == job_id
    )

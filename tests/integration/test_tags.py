"""Which image a prediction is for: told by its `input`, with and without an echo of the webhook's URL."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import generate
import watchdog
import webhook
from tests.support.events import s3_notification, signed, sqs_event, webhook_event, webhook_for
from tests.support.fake_replicate import promised
from tests.support.function_environment import forget_caches
from tests.support.world import World
from triptych.aws import queues
from triptych.job import ImageStatus, JobStatus

IDS = ("p0", "p1", "p2")
with_and_without_echo = pytest.mark.parametrize("echoes", [False, True], ids=["no echo", "echo"])


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("cut", request=request)


@pytest.fixture
def doubtful(world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job whose three predictions were made, and whose answers were lost."""
    monkeypatch.setattr(queues, "put_back", lambda *_, **__: None)
    world.replicate.after_create = lost
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    world.replicate.after_create = lambda _: None
    return job_id


@pytest.fixture
def running(world: World, context: SimpleNamespace) -> str:
    """A job whose three predictions are known."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    return job_id


def query_of(world: World, prediction_id: str) -> str:
    return urlsplit(str(world.replicate.predictions[prediction_id]["webhook"])).query


def call(world: World, context: SimpleNamespace, told: dict[str, Any], query: str) -> int:
    """The answer to a signed webhook with this body and this query."""
    body = json.dumps(told).encode()
    event = webhook_event(body, signed(body, world.clock), query)
    return int(webhook.handler(event, context)["statusCode"])


def look(world: World, job_id: str, context: SimpleNamespace) -> None:
    message = {"job_id": job_id, "born_at": world.job(job_id).watched_since.isoformat()}
    watchdog.handler(sqs_event(message), context)


def use_model(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setenv("REPLICATE_MODEL", model)
    forget_caches()


@with_and_without_echo
def test_lost_answer_is_adopted_from_the_list(
    world: World,
    context: SimpleNamespace,
    doubtful: str,
    echoes: bool,  # noqa: FBT001
) -> None:
    world.replicate.echoes = echoes
    generate.handler(sqs_event(s3_notification(doubtful), receives=2), context)
    assert {image.prediction_id for image in world.job(doubtful).images} == set(IDS)
    assert len(world.replicate.creates) == 3


@with_and_without_echo
def test_lost_answer_is_adopted_from_its_webhook(
    world: World,
    context: SimpleNamespace,
    doubtful: str,
    echoes: bool,  # noqa: FBT001
) -> None:
    for prediction_id in IDS:
        event = webhook_for(world.replicate.finish(prediction_id), world.clock, echoes=echoes)
        assert webhook.handler(event, context)["statusCode"] == 200
    assert world.job(doubtful).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == 3


@pytest.mark.parametrize("by", ["list", "webhook"])
def test_prediction_with_a_photo_list_is_adopted(
    world: World,
    context: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    by: str,
) -> None:
    use_model(monkeypatch, "google/nano-banana-2")
    job_id = request.getfixturevalue("doubtful")
    assert isinstance(world.replicate.predictions["p0"]["input"]["image_input"], list)
    if by == "list":
        generate.handler(sqs_event(s3_notification(job_id), receives=2), context)
    else:
        for prediction_id in IDS:
            webhook.handler(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
    assert {image.prediction_id for image in world.job(job_id).images} == set(IDS)
    assert len(world.replicate.creates) == 3


def test_lost_answer_is_adopted_after_a_model_change(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, doubtful: str
) -> None:
    use_model(monkeypatch, "bytedance/seedream-4")
    generate.handler(sqs_event(s3_notification(doubtful), receives=2), context)
    assert {image.prediction_id for image in world.job(doubtful).images} == set(IDS)
    assert len(world.replicate.creates) == 3


@with_and_without_echo
def test_captured_webhook_is_refused_for_another_image(
    world: World,
    context: SimpleNamespace,
    doubtful: str,
    running: str,
    echoes: bool,  # noqa: FBT001
) -> None:
    before = [world.job(job_id) for job_id in (doubtful, running)]
    mine = query_of(world, "p0")
    for prediction_id in ("p0", "p3"):  # of a lost answer, and known
        done = world.replicate.finish(prediction_id)
        told = done if echoes else promised(done)
        for other in world.replicate.predictions.keys() - {prediction_id}:
            assert call(world, context, told, query_of(world, other)) == 401
    captured = promised(world.replicate.finish("p0"))
    assert call(world, context, captured, mine.replace("attempt=1", "attempt=2")) == 401
    assert call(world, context, captured, "") == 401
    assert [world.job(job_id) for job_id in (doubtful, running)] == before


@pytest.mark.parametrize("known", [True, False], ids=["known", "in doubt"])
def test_body_that_names_two_images_is_refused(
    world: World,
    context: SimpleNamespace,
    request: pytest.FixtureRequest,
    known: bool,  # noqa: FBT001
) -> None:
    job_id = request.getfixturevalue("running" if known else "doubtful")
    before = world.job(job_id)
    told = {**world.replicate.finish("p0"), "webhook": world.replicate.predictions["p1"]["webhook"]}
    for prediction_id in IDS:
        assert call(world, context, told, query_of(world, prediction_id)) == 401
    assert world.job(job_id) == before


def test_listed_prediction_that_names_two_images_is_not_adopted(
    world: World, context: SimpleNamespace, doubtful: str
) -> None:
    rows = world.replicate.predictions
    rows["p0"]["webhook"] = rows["p1"]["webhook"]
    del rows["p1"]
    world.replicate.echoes = True
    generate.handler(sqs_event(s3_notification(doubtful), receives=2), context)
    assert [image.prediction_id for image in world.job(doubtful).having(ImageStatus.GENERATING)] == ["p2"]
    assert len(world.job(doubtful).having(ImageStatus.REQUESTING)) == 2


@pytest.mark.parametrize("echo", ["https://api.example.com/hook", "https://other.example/?job_id=x", "x"])
def test_foreign_echo_falls_back_to_the_input(
    world: World, context: SimpleNamespace, doubtful: str, echo: str
) -> None:
    told = {**world.replicate.finish("p0"), "webhook": echo}
    assert call(world, context, told, query_of(world, "p1")) == 401
    assert call(world, context, told, query_of(world, "p0")) == 200
    assert len(world.job(doubtful).having(ImageStatus.STORED)) == 1


INPUTS: dict[str, object] = {
    "none": None,
    "emptied": {},
    "without the photo": {"prompt": "Paint it."},
    "a rewritten photo": {"input_image": "https://replicate.delivery/pbxt/photo.jpg"},
    "no photo in the list": {"input_image": []},
}


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_without_echo_and_tag_only_a_known_id_binds(
    world: World, context: SimpleNamespace, running: str, given: object
) -> None:
    told = {**promised(world.replicate.finish("p0")), "input": given}
    assert call(world, context, told, query_of(world, "p1")) == 401
    assert call(world, context, told, query_of(world, "p0")) == 200
    assert len(world.job(running).having(ImageStatus.STORED)) == 1


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_without_echo_and_tag_an_unknown_id_is_refused(
    world: World, context: SimpleNamespace, doubtful: str, given: object
) -> None:
    before = world.job(doubtful)
    told = {**promised(world.replicate.finish("p0")), "input": given}
    for prediction_id in IDS:
        assert call(world, context, told, query_of(world, prediction_id)) == 401
    assert world.job(doubtful) == before


def test_echo_binds_when_the_photo_url_was_rewritten(
    world: World, context: SimpleNamespace, doubtful: str
) -> None:
    told = {**world.replicate.finish("p0"), "input": INPUTS["a rewritten photo"]}
    assert call(world, context, told, query_of(world, "p1")) == 401
    assert call(world, context, told, query_of(world, "p0")) == 200


def test_prediction_read_by_the_watchdog_needs_no_tag(
    world: World, context: SimpleNamespace, running: str
) -> None:
    """An hour after their end, the inputs of predictions are emptied."""
    for prediction_id in IDS:
        world.replicate.finish(prediction_id, input=None)
    world.clock.advance(300)
    look(world, running, context)
    assert world.job(running).status is JobStatus.SUCCEEDED

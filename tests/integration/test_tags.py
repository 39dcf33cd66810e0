"""The image that a prediction belongs to: read from its `input`, with and without an echo of the webhook's URL."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import generate
import webhook
from tests.integration.looking import look
from tests.support.events import s3_notification, signed, sqs_event, webhook_event, webhook_for
from tests.support.fake_replicate import promised
from tests.support.function_environment import forget_caches
from tests.support.world import World
from triptych.aws import queues
from triptych.job import ImageStatus, JobStatus

IDS = ("p0", "p1", "p2")
with_and_without_echo = pytest.mark.parametrize("echoes", [False, True], ids=["no echo", "echo"])


def lose_answer(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("cut", request=request)


@pytest.fixture
def in_doubt(world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> str:
    """Create a job whose three predictions exist and whose answers were lost."""
    monkeypatch.setattr(queues, "put_back", lambda *_, **__: None)
    world.replicate.after_create = lose_answer
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    world.replicate.after_create = lambda _: None
    return job_id


@pytest.fixture
def running(world: World, context: SimpleNamespace) -> str:
    """Create a job whose three predictions are known."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    return job_id


def query_of(world: World, prediction_id: str) -> str:
    return urlsplit(str(world.replicate.predictions[prediction_id]["webhook"])).query


def call(world: World, context: SimpleNamespace, prediction: dict[str, Any], query: str) -> int:
    """Send a signed webhook with this body and query; return the status code."""
    body = json.dumps(prediction).encode()
    event = webhook_event(body, signed(body, world.clock), query)
    return int(webhook.handler(event, context)["statusCode"])


def use_model(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setenv("REPLICATE_MODEL", model)
    forget_caches()


@with_and_without_echo
def test_lost_answer_is_adopted_from_the_list(
    world: World,
    context: SimpleNamespace,
    in_doubt: str,
    echoes: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    world.replicate.account.echoes = echoes
    generate.handler(sqs_event(s3_notification(in_doubt), receives=2), context)
    assert {image.prediction_id for image in world.job(in_doubt).images} == set(IDS)
    assert len(world.replicate.creates) == 3


@with_and_without_echo
def test_lost_answer_is_adopted_from_its_webhook(
    world: World,
    context: SimpleNamespace,
    in_doubt: str,
    echoes: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    for prediction_id in IDS:
        event = webhook_for(world.replicate.finish(prediction_id), world.clock, echoes=echoes)
        assert webhook.handler(event, context)["statusCode"] == 200
    assert world.job(in_doubt).status is JobStatus.SUCCEEDED
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
    job_id = request.getfixturevalue("in_doubt")
    assert isinstance(world.replicate.predictions["p0"]["input"]["image_input"], list)
    if by == "list":
        generate.handler(sqs_event(s3_notification(job_id), receives=2), context)
    else:
        for prediction_id in IDS:
            webhook.handler(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
    assert {image.prediction_id for image in world.job(job_id).images} == set(IDS)
    assert len(world.replicate.creates) == 3


def test_lost_answer_is_adopted_after_a_model_change(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, in_doubt: str
) -> None:
    use_model(monkeypatch, "bytedance/seedream-4")
    generate.handler(sqs_event(s3_notification(in_doubt), receives=2), context)
    assert {image.prediction_id for image in world.job(in_doubt).images} == set(IDS)
    assert len(world.replicate.creates) == 3


@with_and_without_echo
def test_captured_webhook_is_refused_for_another_image(
    world: World,
    context: SimpleNamespace,
    in_doubt: str,
    running: str,
    echoes: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    before = [world.job(job_id) for job_id in (in_doubt, running)]
    own = query_of(world, "p0")
    for prediction_id in ("p0", "p3"):  # one in doubt, one known
        done = world.replicate.finish(prediction_id)
        sent = done if echoes else promised(done)
        for other in world.replicate.predictions.keys() - {prediction_id}:
            assert call(world, context, sent, query_of(world, other)) == 401
    captured = promised(world.replicate.finish("p0"))
    assert call(world, context, captured, own.replace("attempt=1", "attempt=2")) == 401
    assert call(world, context, captured, "") == 401
    assert [world.job(job_id) for job_id in (in_doubt, running)] == before


@pytest.mark.parametrize("known", [True, False], ids=["known", "in doubt"])
def test_body_that_names_two_images_is_refused(
    world: World,
    context: SimpleNamespace,
    request: pytest.FixtureRequest,
    known: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    job_id = request.getfixturevalue("running" if known else "in_doubt")
    before = world.job(job_id)
    sent = {**world.replicate.finish("p0"), "webhook": world.replicate.predictions["p1"]["webhook"]}
    for prediction_id in IDS:
        assert call(world, context, sent, query_of(world, prediction_id)) == 401
    assert world.job(job_id) == before


def test_listed_prediction_that_names_two_images_is_not_adopted(
    world: World, context: SimpleNamespace, in_doubt: str
) -> None:
    world.replicate.change("p0", webhook=world.replicate.predictions["p1"]["webhook"])
    world.replicate.forget("p1")
    world.replicate.account.echoes = True
    generate.handler(sqs_event(s3_notification(in_doubt), receives=2), context)
    assert [image.prediction_id for image in world.job(in_doubt).having(ImageStatus.GENERATING)] == ["p2"]
    assert len(world.job(in_doubt).having(ImageStatus.REQUESTING)) == 2


@pytest.mark.parametrize("echo", ["https://api.example.com/hook", "https://other.example/?job_id=x", "x"])
def test_foreign_echo_falls_back_to_the_input(
    world: World, context: SimpleNamespace, in_doubt: str, echo: str
) -> None:
    sent = {**world.replicate.finish("p0"), "webhook": echo}
    assert call(world, context, sent, query_of(world, "p1")) == 401
    assert call(world, context, sent, query_of(world, "p0")) == 200
    assert len(world.job(in_doubt).having(ImageStatus.STORED)) == 1


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
    sent = {**promised(world.replicate.finish("p0")), "input": given}
    assert call(world, context, sent, query_of(world, "p1")) == 401
    assert call(world, context, sent, query_of(world, "p0")) == 200
    assert len(world.job(running).having(ImageStatus.STORED)) == 1


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_without_echo_and_tag_an_unknown_id_is_refused(
    world: World, context: SimpleNamespace, in_doubt: str, given: object
) -> None:
    before = world.job(in_doubt)
    sent = {**promised(world.replicate.finish("p0")), "input": given}
    for prediction_id in IDS:
        assert call(world, context, sent, query_of(world, prediction_id)) == 401
    assert world.job(in_doubt) == before


@pytest.mark.parametrize("image", [3, 99])
@pytest.mark.parametrize("named", ["in the body", "only in the query"])
def test_webhook_for_an_image_that_does_not_exist_is_refused(
    world: World, context: SimpleNamespace, running: str, image: int, named: str
) -> None:
    before = world.job(running)
    query = query_of(world, "p0")
    index = next(one.index for one in before.images if one.prediction_id == "p0")
    beyond = query.replace(f"image={index}", f"image={image}")
    sent = {**world.replicate.finish("p0"), "input": None, "webhook": f"https://api.example.com/?{beyond}"}
    sent = sent if named == "in the body" else promised(sent)
    assert call(world, context, sent, beyond) == 401
    assert world.job(running) == before
    assert call(world, context, promised(sent), query) == 200


def test_echo_binds_when_the_photo_url_was_rewritten(
    world: World, context: SimpleNamespace, in_doubt: str
) -> None:
    sent = {**world.replicate.finish("p0"), "input": INPUTS["a rewritten photo"]}
    assert call(world, context, sent, query_of(world, "p1")) == 401
    assert call(world, context, sent, query_of(world, "p0")) == 200


def test_prediction_read_by_the_watchdog_needs_no_tag(
    world: World, context: SimpleNamespace, running: str
) -> None:
    """Replicate empties the input of a prediction an hour after its end."""
    for prediction_id in IDS:
        world.replicate.finish(prediction_id, input=None)
    world.clock.advance(300)
    look(world, running, context)
    assert world.job(running).status is JobStatus.SUCCEEDED

"""What an order may say beside its photo: styles, images with their own prompts, models, metadata, another job's photo."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import api
import generate
import replies
import webhook
from tests.integration.paging import pages
from tests.support.events import api_event, s3_notification, sqs_event, webhook_for
from tests.support.function_environment import BUCKET
from tests.support.photos import JPEG
from tests.support.world import World
from triptych import settings
from triptych.aws import bucket, table
from triptych.aws.styles import built_in
from triptych.flows import owner
from triptych.job import JobStatus
from triptych.photo.formats import content_type
from triptych.runtime import clock
from triptych.runtime.observability import logger

ORDER = {"content_type": "image/jpeg", "content_length": len(JPEG)}
FLUX2 = "black-forest-labs/flux-2-pro"
BANANA = "google/nano-banana-2"


def ordered(call: Any, **fields: object) -> str:
    status, created = call("POST", "/api/v1/jobs", {**ORDER, **fields})
    assert status == 201, created
    return str(created["job_id"])


def refused(call: Any, body: object, status: int = 400, code: str = "invalid_request") -> str:
    got, answer = call("POST", "/api/v1/jobs", body)
    assert (got, answer["error"]["code"]) == (status, code), answer
    assert call("GET", "/api/v1/jobs")[1]["jobs"] == []
    return str(answer["error"]["message"])


def requested(world: World, context: SimpleNamespace, job_id: str) -> list[dict[str, Any]]:
    """Upload the photo; return the bodies of the POSTs to Replicate, by image."""
    world.upload(job_id)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    bodies = [json.loads(request.content) for request in world.replicate.creates]
    return sorted(bodies, key=lambda body: str(body["webhook"]))


def set_up(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.settings.cache_clear()


# ── images ──


def test_each_image_has_its_own_prompt_and_seed(world: World, context: SimpleNamespace, call: Any) -> None:
    images = [{"prompt": "In spring.", "seed": 7}, {"prompt": "In autumn."}, {"seed": 0}]
    job_id = ordered(call, prompt="A castle.", images=images)
    inputs = [body["input"] for body in requested(world, context, job_id)]
    assert {(one["prompt"], one["seed"]) for one in inputs} > {("In spring.", 7), ("A castle.", 0)}
    assert {one["prompt"] for one in inputs} == {"In spring.", "In autumn.", "A castle."}
    view = call("GET", f"/api/v1/jobs/{job_id}")[1]
    assert [one["prompt"] for one in view["images"]] == ["In spring.", "In autumn.", None]


@pytest.mark.parametrize("count", [1, 5, 10])
def test_order_says_how_many_images_it_wants(
    world: World, context: SimpleNamespace, call: Any, count: int
) -> None:
    job_id = ordered(call, image_count=count)
    assert len(requested(world, context, job_id)) == count
    assert len(call("GET", f"/api/v1/jobs/{job_id}")[1]["images"]) == count


def test_chosen_seed_is_asked_again_until_a_retry(world: World, context: SimpleNamespace, call: Any) -> None:
    job_id = ordered(call, images=[{"seed": 11}])
    assert requested(world, context, job_id)[0]["input"]["seed"] == 11
    failed = world.replicate.finish("p0", status="failed", error="boom", output=None)
    webhook.handler(webhook_for(failed, world.clock), context)
    assert call("POST", f"/api/v1/jobs/{job_id}/retry")[0] == 200
    generate.handler(sqs_event(s3_notification(job_id)), context)
    assert json.loads(world.replicate.creates[-1].content)["input"]["seed"] != 11


@pytest.mark.parametrize(
    "fields",
    [
        {"images": []},
        {"images": [{}] * 11},
        {"images": [{}], "image_count": 1},
        {"images": [{"prompt": ""}]},
        {"images": [{"seed": -1}]},
        {"images": [{"seed": 2**31}]},
        {"images": [{"seed": 1.5}]},
        {"images": [{"style": "oil"}]},
        {"image_count": 0},
        {"image_count": 11},
        {"image_count": True},
        {"style": "no-such-style"},
        {"style": ""},
        {"model": "somebody/else"},
        {"metadata": {"a b": "x"}},
        {"metadata": {"a": "x" * 201}},
        {"metadata": {"a": "x\ny"}},
        {"metadata": {"a": 1}},
        {"metadata": {"a": None}},
        {"metadata": {str(number): "x" for number in range(17)}},
    ],
)
def test_impossible_order_is_refused(call: Any, fields: dict[str, object]) -> None:
    refused(call, {**ORDER, **fields})


def test_empty_prompt_is_refused_with_a_sentence(call: Any) -> None:
    message = refused(call, {**ORDER, "prompt": " "})
    assert (
        message
        == "prompt: write what the model should make of the photo, or leave it out. Correct the request."
    )


def test_images_of_an_order_count_toward_the_limit(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, DAILY_PICTURES_PER_OWNER="6")
    ordered(call, image_count=5)
    assert call("POST", "/api/v1/jobs", {**ORDER, "image_count": 2})[0] == 429
    ordered(call, images=[{}])
    assert call("GET", "/api/v1/usage")[1]["pictures_today"] == 6


def test_other_name_of_jpeg_is_taken(world: World, context: SimpleNamespace, call: Any) -> None:
    assert call("POST", "/api/v1/jobs", {**ORDER, "content_type": "Image/JPEG"})[0] == 201
    status, created = call("POST", "/api/v1/jobs", {**ORDER, "content_type": "image/jpg"})
    assert status == 201
    assert created["upload"]["headers"]["Content-Type"] == "image/jpeg"
    assert len(requested(world, context, created["job_id"])) == 3


def test_same_key_with_another_order_is_refused(call: Any) -> None:
    for fields in ({"image_count": 1}, {"style": "oil"}, {"metadata": {"a": "b"}}, {"images": [{"seed": 1}]}):
        key = json.dumps(fields)
        first = call("POST", "/api/v1/jobs", {**ORDER, **fields}, idempotency_key=key)
        assert first[0] == 201
        assert (
            call("POST", "/api/v1/jobs", {**ORDER, **fields}, idempotency_key=key)[1]["job_id"]
            == first[1]["job_id"]
        )
        assert call("POST", "/api/v1/jobs", ORDER, idempotency_key=key)[0] == 409


def test_plain_order_is_stored_without_further_fields(world: World, call: Any) -> None:
    stored = json.loads(world.item(ordered(call))["request"]["S"])
    assert set(stored) == {"content_type", "size"}


def test_limits_name_the_most_pixels(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, MAX_PHOTO_PIXELS="12345")
    assert call("GET", "/api/v1/limits")[1]["max_photo_pixels"] == 12345


# ── styles ──


def test_prompt_of_a_style_comes_before_the_clients(
    world: World, context: SimpleNamespace, call: Any
) -> None:
    oil = next(one for one in built_in() if one.id == "oil")
    (body,) = requested(world, context, ordered(call, style="oil", prompt="In autumn.", image_count=1))
    assert body["input"]["prompt"] == f"{oil.prompt} In autumn."


def test_styles_are_listed_without_their_prompts(call: Any) -> None:
    status, answer = call("GET", "/api/v1/styles")
    assert status == 200
    assert len(answer["styles"]) == 6
    assert set(answer["styles"][0]) == {"id", "name", "description", "preview"}


def test_every_built_in_style_has_a_picture(context: SimpleNamespace, call: Any) -> None:
    for style in call("GET", "/api/v1/styles")[1]["styles"]:
        event = api_event("GET", style["preview"])
        del event["requestContext"]["authorizer"]  # an <img> sends no token
        answer: Any = api.handler(event, context)
        assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, True)
        assert content_type(base64.b64decode(answer["body"])) == "image/webp"
        headers = {name.lower(): value for name, value in answer["headers"].items()}
        assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert call("GET", "/api/v1/styles/..%2Fapi/preview")[0] == 404
    assert call("GET", "/api/v1/styles/none/preview")[0] == 404


def own_styles(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    boto3.client("ssm").put_parameter(Name="/styles", Value=text, Type="String", Overwrite=True)
    set_up(monkeypatch, STYLES_PARAMETER="/styles")


def test_operator_replaces_the_styles(
    world: World, context: SimpleNamespace, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"id": "mine", "name": "Mine", "description": "My own.", "prompt": "As I like it."}
    own_styles(monkeypatch, json.dumps([{**mine, "preview": "https://example.com/mine.webp"}]))
    (listed,) = call("GET", "/api/v1/styles")[1]["styles"]
    assert listed["preview"] == "https://example.com/mine.webp"
    job_id = ordered(call, style="mine", image_count=1)
    own_styles(monkeypatch, json.dumps([{**mine, "id": "other"}]))  # the job keeps what it was ordered with
    assert requested(world, context, job_id)[0]["input"]["prompt"] == "As I like it."
    refused_style = call("POST", "/api/v1/jobs", {**ORDER, "style": "oil"})
    assert refused_style[0] == 400


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", '[{"id": "A b"}]'])
def test_broken_catalogue_is_named_and_stops_no_plain_order(
    call: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    own_styles(monkeypatch, text)
    for method, path, body in (
        ("GET", "/api/v1/styles", None),
        ("POST", "/api/v1/jobs", {**ORDER, "style": "oil"}),
    ):
        status, answer = call(method, path, body)
        assert (status, answer["error"]["code"]) == (500, "misconfigured")
        assert "styles_parameter" in answer["error"]["message"]
    ordered(call)


def test_missing_catalogue_is_named(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, STYLES_PARAMETER="/nothing")
    status, answer = call("GET", "/api/v1/styles")
    assert (status, answer["error"]["code"]) == (500, "misconfigured")


# ── models ──


def test_client_chooses_among_the_allowed_models(
    world: World, context: SimpleNamespace, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, ALLOWED_MODELS=f"{FLUX2}, {BANANA}")
    default, *others = call("GET", "/api/v1/limits")[1]["models"]
    assert (default, others) == (settings.settings().replicate_model, [FLUX2, BANANA])
    job_id = ordered(call, model=FLUX2, image_count=1)
    (body,) = requested(world, context, job_id)
    assert body["version"] == FLUX2
    assert isinstance(body["input"]["input_images"], list)
    assert call("GET", f"/api/v1/jobs/{job_id}")[1]["model"] == FLUX2
    plain = ordered(call)
    assert call("GET", f"/api/v1/jobs/{plain}")[1]["model"] is None
    set_up(monkeypatch, ALLOWED_MODELS="")
    status, answer = call("POST", f"/api/v1/jobs/{job_id}/images/0/again")
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


def test_seed_for_a_model_without_one_is_refused(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, ALLOWED_MODELS=BANANA)
    assert "seed" in refused(call, {**ORDER, "model": BANANA, "images": [{"seed": 1}]})


def test_allowed_model_without_input_fields_is_named(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, ALLOWED_MODELS="somebody/else")
    status, answer = call("GET", "/api/v1/limits")
    assert (status, answer["error"]["code"]) == (500, "misconfigured")
    assert "ALLOWED_MODELS" in answer["error"]["message"]


# ── metadata ──


def test_metadata_with_too_many_entries_is_refused_unread(call: Any) -> None:
    """To check half a million characters of entries took almost a second."""
    message = refused(call, {**ORDER, "metadata": {str(number): number for number in range(17)}})
    assert message.startswith("metadata: ")


def test_metadata_is_returned_and_filters_lists(call: Any) -> None:
    first = ordered(call, metadata={"order": "A-17", "shop": "Seoul"})
    ordered(call, metadata={"order": "A-18", "shop": "Seoul"})
    ordered(call)
    assert call("GET", f"/api/v1/jobs/{first}")[1]["metadata"] == {"order": "A-17", "shop": "Seoul"}
    found = call("GET", "/api/v1/jobs?metadata.order=A-17&metadata.shop=Seoul")[1]["jobs"]
    assert [job["job_id"] for job in found] == [first]
    assert len(call("GET", "/api/v1/jobs?metadata.shop=Seoul")[1]["jobs"]) == 2
    assert call("GET", "/api/v1/jobs?metadata.shop=Busan")[1] == {"jobs": [], "cursor": None}


def test_metadata_of_null_is_none(call: Any) -> None:
    job_id = ordered(call, metadata=None)
    assert call("GET", f"/api/v1/jobs/{job_id}")[1]["metadata"] == {}


def test_metadata_is_in_no_log(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    job_id = ordered(call, metadata={"customer": "Ada Lovelace"}, prompt="For Lovelace.")
    call("GET", f"/api/v1/jobs/{job_id}")
    call("GET", "/api/v1/jobs?metadata.customer=Lovelace")
    assert job_id in log.getvalue()
    assert "Lovelace" not in log.getvalue()


# ── lists ──


def test_list_is_filtered_by_status_page_by_page(world: World, call: Any) -> None:
    made = []
    for number in range(7):
        world.clock.advance(1)
        made.append(ordered(call))
        if number % 2:
            call("POST", f"/api/v1/jobs/{made[-1]}/cancel")
    seen = []
    for jobs in pages(call, "status=CANCELED&limit=2"):
        assert len(jobs) <= 2
        seen += [job["job_id"] for job in jobs]
    assert seen == [made[5], made[3], made[1]]


def test_page_fits_into_what_lambda_may_answer(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MOST_BYTES", 20_000)
    made = [ordered(call, prompt="그림" * 1000) for _ in range(5)]
    first = call("GET", "/api/v1/jobs?limit=100")[1]
    assert len(first["jobs"]) < 5
    rest = call("GET", f"/api/v1/jobs?limit=100&cursor={first['cursor']}")[1]["jobs"]
    assert len({job["job_id"] for job in (*first["jobs"], *rest)} & set(made)) > len(first["jobs"])


def test_page_of_quotation_marks_fits_into_what_lambda_may_answer(
    call: Any, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "MOST_BYTES", 20_000)
    for _ in range(5):
        ordered(call, prompt='"' * 2000)
    answer = api.handler(api_event("GET", "/api/v1/jobs?limit=100"), context)
    assert len(json.dumps(answer["body"])) <= replies.MOST_BYTES


@pytest.mark.parametrize("query", ["limit=100", "status=SUCCEEDED"])
def test_page_that_takes_long_to_read_is_cut(call: Any, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """Otherwise the lists of an owner of many long orders would hold functions for as long as they may run."""
    monkeypatch.setattr(table, "READ_SECONDS", 3.0)
    made = [ordered(call) for _ in range(7)]
    seconds = itertools.count()
    monkeypatch.setattr(clock, "monotonic", lambda: float(next(seconds)))
    found = list(pages(call, query))
    assert len(found) == 3
    listed = sorted(job["job_id"] for page in found for job in page)
    assert listed == (sorted(made) if query == "limit=100" else [])


def test_slow_first_query_cuts_no_page(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [ordered(call) for _ in range(3)]
    now = [0.0]

    def slow(page: Iterable[Any]) -> Iterator[Any]:
        for job in page:
            now[0] = 2 * table.READ_SECONDS
            yield job

    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    monkeypatch.setattr(table, "_unless_throttled", slow)
    (found,) = pages(call, "limit=100")
    assert sorted(job["job_id"] for job in found) == sorted(made)


@pytest.mark.parametrize("query", ["limit=100", "status=SUCCEEDED"])
def test_page_of_long_orders_is_cut(call: Any, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    monkeypatch.setattr(table, "MOST_TEXT_READ", 10_000)
    made = [ordered(call, prompt="\N{ARTIST PALETTE}" * 1_500) for _ in range(5)]
    found = list(pages(call, query))
    listed = sorted(job["job_id"] for page in found for job in page)
    assert listed == (sorted(made) if query == "limit=100" else [])
    assert len(found) == 3


def test_page_of_jobs_with_many_images_is_cut(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MOST_IMAGES_LISTED", 20)
    made = [ordered(call, image_count=10) for _ in range(5)]
    found = list(pages(call, "limit=100"))
    assert sorted(job["job_id"] for jobs in found for job in jobs) == sorted(made)
    assert [len(jobs) for jobs in found] == [2, 2, 1]


@pytest.mark.parametrize(
    "query", ["status=DONE", "states=FAILED", "metadata=x", "metadata.=x", "Status=FAILED", "wait=3"]
)
def test_unknown_filter_is_refused(call: Any, query: str) -> None:
    status, answer = call("GET", f"/api/v1/jobs?{query}")
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


def test_query_of_a_route_without_one_is_refused(call: Any) -> None:
    assert call("GET", f"/api/v1/jobs/{ordered(call)}?limit=3")[0] == 400


# ── another job's photo ──


@pytest.fixture
def done(world: World, context: SimpleNamespace, call: Any) -> str:
    """Return a job of ann's that has succeeded."""
    job_id = ordered(call, prompt="A castle.", style="oil", metadata={"order": "A-17"})
    requested(world, context, job_id)
    for prediction_id in ("p0", "p1", "p2"):
        webhook.handler(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    return job_id


def arrive(world: World, context: SimpleNamespace, job_id: str) -> None:
    """Deliver S3's event about the job's photo."""
    key = world.job(job_id).photo.key
    assert world.object_keys(f"uploads/{job_id}/") == [key]
    generate.handler(sqs_event({"job_id": job_id, "original_s3_key": key}), context)


def test_order_uses_the_photo_of_another_job(
    world: World, context: SimpleNamespace, call: Any, done: str
) -> None:
    status, created = call("POST", "/api/v1/jobs", {"photo_of": done, "image_count": 2})
    assert (status, created["upload"]) == (201, None)
    job_id = created["job_id"]
    assert world.s3.get_object(Bucket=BUCKET, Key=world.job(job_id).photo.key)["Body"].read() == JPEG
    arrive(world, context, job_id)
    assert world.job(job_id).status is JobStatus.GENERATING
    assert len(world.replicate.creates) == 5
    owner.delete(world.job(done))
    assert world.object_keys(f"uploads/{job_id}/")  # it is a copy


def test_photo_of_an_id_in_capitals_is_used(world: World, call: Any, done: str) -> None:
    for order in ({"photo_of": done.upper()}, {"photo_of": done}):
        status, created = call("POST", "/api/v1/jobs", order, idempotency_key="k")
        assert (status, world.job(created["job_id"]).request.photo_of) == (201, done)
    assert call("POST", f"/api/v1/jobs/{done.upper()}/images/0/again")[0] == 201


def test_photo_of_another_user_is_not_found(call: Any, done: str) -> None:
    answer = call("POST", "/api/v1/jobs", {"photo_of": done}, owner="bob")
    assert (answer[0], answer[1]["error"]["code"]) == (404, "job_not_found")


def test_photo_is_used_before_its_own_job_has_seen_it(
    world: World, context: SimpleNamespace, call: Any
) -> None:
    first = ordered(call)
    world.upload(first)
    assert world.job(first).status is JobStatus.AWAITING_UPLOAD
    status, created = call("POST", "/api/v1/jobs", {"photo_of": first})
    assert status == 201
    arrive(world, context, created["job_id"])
    assert world.job(created["job_id"]).status is JobStatus.GENERATING


def test_photo_that_is_not_there_is_refused(world: World, call: Any, done: str) -> None:
    waiting = ordered(call)
    for job_id in (waiting, done):
        world.s3.delete_object(Bucket=BUCKET, Key=world.job(job_id).photo.key)
        status, answer = call("POST", "/api/v1/jobs", {"photo_of": job_id})
        assert (status, answer["error"]["code"]) == (409, "photo_gone")


def test_photo_of_and_an_upload_exclude_each_other(call: Any, done: str) -> None:
    assert call("POST", "/api/v1/jobs", {**ORDER, "photo_of": done})[0] == 400
    assert call("POST", "/api/v1/jobs", {})[0] == 400


def test_repeated_order_copies_the_photo_that_a_crash_left_behind(
    world: World, context: SimpleNamespace, call: Any, done: str
) -> None:
    order = {"photo_of": done}
    first = call("POST", "/api/v1/jobs", order, idempotency_key="k")[1]["job_id"]
    world.s3.delete_object(Bucket=BUCKET, Key=world.job(first).photo.key)
    assert call("POST", "/api/v1/jobs", order, idempotency_key="k")[1]["job_id"] == first
    arrive(world, context, first)
    assert world.job(first).status is JobStatus.GENERATING


def test_repeated_order_copies_its_photo_once(world: World, call: Any, done: str) -> None:
    """Each copy is an event for `generate`, and no limit counts a repeated order."""
    order = {"photo_of": done}
    first = call("POST", "/api/v1/jobs", order, idempotency_key="k")[1]["job_id"]
    key = world.job(first).photo.key
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"the first copy")
    assert call("POST", "/api/v1/jobs", order, idempotency_key="k")[1]["job_id"] == first
    assert world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"the first copy"


def test_repeated_order_is_not_checked_against_a_lower_limit(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = call("POST", "/api/v1/jobs", ORDER, idempotency_key="k")
    set_up(monkeypatch, MAX_UPLOAD_BYTES=str(len(JPEG) - 1))
    assert call("POST", "/api/v1/jobs", ORDER, idempotency_key="k") == first
    larger = {**ORDER, "content_length": len(JPEG) + 1}
    assert call("POST", "/api/v1/jobs", larger, idempotency_key="k")[0] == 413


def test_order_repeated_during_the_copy_returns_its_job(
    call: Any, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def under_way(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "CopyObject")

    monkeypatch.setattr(bucket._s3(), "copy_object", under_way)
    assert call("POST", "/api/v1/jobs", {"photo_of": done}, idempotency_key="k")[0] == 201


def test_repeated_order_returns_its_job_whatever_has_changed(
    world: World, call: Any, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {"photo_of": done, "style": "oil"}
    first = call("POST", "/api/v1/jobs", order, idempotency_key="k")[1]["job_id"]
    owner.delete(world.job(done))
    own_styles(monkeypatch, '[{"id": "other", "name": "Other", "description": "Other.", "prompt": "Other."}]')
    assert call("POST", "/api/v1/jobs", order, idempotency_key="k")[1]["job_id"] == first
    assert call("POST", "/api/v1/jobs", {**order, "style": "other"}, idempotency_key="k")[0] == 409
    assert call("POST", "/api/v1/jobs", order, idempotency_key="new")[0] == 404


def test_key_of_one_image_serves_no_other(call: Any, done: str) -> None:
    first = call("POST", f"/api/v1/jobs/{done}/images/0/again", idempotency_key="k")
    assert call("POST", f"/api/v1/jobs/{done}/images/0/again", idempotency_key="k") == first
    assert call("POST", f"/api/v1/jobs/{done}/images/1/again", idempotency_key="k")[0] == 409


def test_repeated_image_returns_its_job_whatever_has_changed(world: World, call: Any, done: str) -> None:
    path = f"/api/v1/jobs/{done}/images/0/again"
    first = call("POST", path, idempotency_key="k")
    owner.delete(world.job(done))
    assert call("POST", path, idempotency_key="k") == first
    assert call("POST", f"/api/v1/jobs/{done}/images/1/again", idempotency_key="k")[0] == 409
    assert call("POST", path, idempotency_key="new")[0] == 404
    assert call("POST", path)[0] == 404


def test_one_more_image_like_another(world: World, context: SimpleNamespace, call: Any, done: str) -> None:
    status, created = call("POST", f"/api/v1/jobs/{done}/images/1/again")
    assert status == 201
    arrive(world, context, created["job_id"])
    again = call("GET", f"/api/v1/jobs/{created['job_id']}")[1]
    assert (again["style"], again["prompt"], again["metadata"]) == ("oil", "A castle.", {"order": "A-17"})
    assert len(again["images"]) == 1
    before, *_, after = (json.loads(one.content)["input"] for one in world.replicate.creates)
    assert after["prompt"] == before["prompt"]
    assert after["seed"] != before["seed"]


@pytest.mark.parametrize("index", ["3", "-1", "x"])
def test_image_that_does_not_exist_is_not_repeated(call: Any, done: str, index: str) -> None:
    assert call("POST", f"/api/v1/jobs/{done}/images/{index}/again")[0] == 400


# ── an upload that goes on ──


def test_new_upload_url_is_not_hidden_by_an_etag(
    world: World, context: SimpleNamespace, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, DOWNLOAD_URL_SECONDS="43200", UPLOAD_URL_SECONDS="60")
    path = f"/api/v1/jobs/{ordered(call)}"
    first: Any = api.handler(api_event("GET", path), context)
    etag = {name.lower(): value for name, value in first["headers"].items()}["etag"]
    world.clock.advance(65)
    assert call("GET", path, if_none_match=etag)[0] == 200


def test_end_of_upload_urls_is_not_hidden_by_an_etag(
    world: World, context: SimpleNamespace, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, DOWNLOAD_URL_SECONDS="43200", UPLOAD_URL_SECONDS="43200")
    world.clock.time = world.clock.time.replace(hour=0, minute=0, second=0)
    path = f"/api/v1/jobs/{ordered(call)}"
    world.clock.advance(43200 + 299)
    before: Any = api.handler(api_event("GET", path), context)
    assert json.loads(before["body"])["upload"]
    world.clock.advance(2)
    assert call("GET", path, if_none_match=before["headers"]["ETag"])[0] == 200
    assert call("GET", path)[1]["upload"] is None


def test_waiting_job_shows_how_to_upload_its_photo(world: World, context: SimpleNamespace, call: Any) -> None:
    job_id = ordered(call)
    upload = call("GET", f"/api/v1/jobs/{job_id}")[1]["upload"]
    assert upload["method"] == "PUT"
    assert "Content-Length" not in upload["headers"]
    requested(world, context, job_id)
    assert call("GET", f"/api/v1/jobs/{job_id}")[1]["upload"] is None
    assert call("GET", "/api/v1/jobs")[1]["jobs"][0]["upload"] is None


def test_created_job_has_a_location(context: SimpleNamespace, world: World) -> None:
    answer: Any = api.handler(api_event("POST", "/api/v1/jobs", ORDER), context)
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    assert headers["location"] == f"/api/v1/jobs/{json.loads(answer['body'])['job_id']}"
    assert world.job(headers["location"].rpartition("/")[2])

"""The webhook handler: it accepts signed webhooks only, each for its own image only."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.client import BaseClient

import generate
import webhook
from tests.support.events import s3_notification, signed, sqs_event, webhook_event, webhook_for
from tests.support.fake_replicate import streamed
from tests.support.function_environment import BUCKET, SECRET
from tests.support.photos import PNG
from tests.support.world import World
from triptych.aws import bucket, table
from triptych.failures import FailureKind
from triptych.flows import collect, record
from triptych.job import DeadlinePassed, ImageStatus, JobStatus
from triptych.replicate import transport, webhooks
from triptych.runtime import answers

OTHER_SECRET = "whsec_" + base64.b64encode(b"another secret").decode()


@pytest.fixture
def job_id(world: World, context: SimpleNamespace) -> str:
    """Create a job whose predictions p0, p1 and p2 run."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    return job_id


def image_of(world: World, job_id: str, prediction_id: str) -> int:
    return next(i.index for i in world.job(job_id).images if i.prediction_id == prediction_id)


def status(event: dict[str, Any], context: SimpleNamespace) -> int:
    answer = webhook.handler(event, context)
    errors = {200: {}, 401: {"code": "webhook_rejected", "message": FailureKind.WEBHOOK_REJECTED.message}}
    if answer["statusCode"] in errors:  # every rejection looks the same
        body = json.loads(str(answer["body"]))
        assert body.get("error", {}) == errors[int(str(answer["statusCode"]))]
    return int(str(answer["statusCode"]))


def test_output_of_a_finished_prediction_is_stored(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    assert status(webhook_for(world.replicate.finish("p0"), world.clock), context) == 200
    image = world.job(job_id).images[image_of(world, job_id, "p0")]
    assert image.output
    assert world.s3.get_object(Bucket=BUCKET, Key=image.output.key)["Body"].read() == PNG


def test_answer_to_a_webhook_has_the_security_headers(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    event = webhook_for(world.replicate.finish("p0"), world.clock)
    for answer in (webhook.handler(event, context), webhook.handler({**event, "body": "{}"}, context)):
        headers = answer["headers"]
        assert isinstance(headers, dict)
        assert answers.HEADERS.items() <= headers.items()


@pytest.mark.parametrize("job_id", ["\udce8", "%ED%B3%A8", "\u00e9"])
def test_webhook_for_an_impossible_id_is_refused(world: World, context: SimpleNamespace, job_id: str) -> None:
    """Half of a surrogate pair cannot be encoded."""
    query = f"job_id={job_id}&image=0&attempt=1&key=a"
    assert status(webhook_event(b"{}", signed(b"{}", world.clock), query), context) == 401


def test_output_is_uploaded_from_disk(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python3 -m tests.benchmarks memory` measures the memory that this saves."""
    bodies: list[Any] = []
    call: Any = vars(BaseClient)["_make_api_call"]

    def seen(client: Any, operation: str, parameters: Any) -> Any:
        if operation == "PutObject":
            bodies.append(parameters["Body"])
            assert bodies[-1].fileno() > 0
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", seen)
    assert status(webhook_for(world.replicate.finish("p0"), world.clock), context) == 200
    assert len(bodies) == 1


def test_base64_body_is_verified_on_its_bytes(world: World, context: SimpleNamespace, job_id: str) -> None:
    event = webhook_for(world.replicate.finish("p0"), world.clock)
    event["body"], event["isBase64Encoded"] = base64.b64encode(event["body"].encode()).decode(), True
    assert status(event, context) == 200
    assert world.job(job_id).having(ImageStatus.STORED)


def test_duplicates_and_late_events_change_nothing(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    done = world.replicate.finish("p0")
    assert status(webhook_for(done, world.clock), context) == 200
    before = world.job(job_id)
    for late in (done, {**done, "status": "processing", "output": None}, {**done, "status": "failed"}):
        assert status(webhook_for(late, world.clock), context) == 200
    assert world.job(job_id) == before
    downloads = [r for r in world.replicate.requests if r.url.host == "replicate.delivery"]
    assert len(downloads) == 1


@pytest.mark.wastes
def test_output_of_a_doubled_prediction_is_counted_not_taken(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(collect, "count", counted.append)
    done = world.replicate.finish("p0")
    assert status(webhook_for(done, world.clock), context) == 200
    assert status(webhook_for(done, world.clock), context) == 200
    assert counted == []
    before = world.job(job_id)
    assert status(webhook_for({**done, "id": "twin"}, world.clock), context) == 200
    assert counted == ["PredictionsDoubled"]
    assert world.job(job_id) == before


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": "failed", "error": "CUDA out of memory", "output": None}, "prediction_failed"),
        ({"status": "failed", "error": "NSFW content detected", "output": None}, "content_rejected"),
        ({"status": "failed", "error": {"odd": 1}, "output": None}, "prediction_failed"),
        ({"status": "canceled", "output": None}, "prediction_canceled"),
        ({"status": "aborted", "output": None}, "prediction_aborted"),
        ({"output": None}, "output_missing"),
        ({"output": []}, "output_missing"),
        ({"output": "https://evil.example/out.png"}, "output_host_not_allowed"),
        ({"output": "http://replicate.delivery/out.png"}, "output_host_not_allowed"),
        ({"output": "https://replicate.delivery@evil.example/out.png"}, "output_host_not_allowed"),
        ({"output": "https://169.254.169.254/latest/meta-data"}, "output_host_not_allowed"),
        ({"output": "file:///etc/passwd"}, "output_host_not_allowed"),
        ({"output": "https://["}, "output_host_not_allowed"),
        ({"output": f"https://{'a' * 64}.replicate.delivery/x.png"}, "output_host_not_allowed"),
        ({"output": "https://.replicate.delivery/x.png"}, "output_host_not_allowed"),
    ],
)
def test_prediction_without_a_usable_output_fails_with_its_code(
    world: World, context: SimpleNamespace, job_id: str, changes: dict[str, object], code: str
) -> None:
    assert status(webhook_for(world.replicate.finish("p1", **changes), world.clock), context) == 200
    image = world.job(job_id).images[image_of(world, job_id, "p1")]
    assert image.status is ImageStatus.FAILED
    assert image.error
    assert image.error.code == code
    for other in ("p0", "p2"):
        status(webhook_for(world.replicate.finish(other), world.clock), context)
    assert world.job(job_id).status is JobStatus.PARTIAL


def test_first_url_of_a_list_is_the_output(world: World, context: SimpleNamespace, job_id: str) -> None:
    done = world.replicate.finish(
        "p0", output=["https://replicate.delivery/a.png", "https://replicate.delivery/b.png"]
    )
    assert status(webhook_for(done, world.clock), context) == 200
    assert world.replicate.requests[-1].url.path == "/a.png"


def test_webhook_before_the_answer_adopts_its_prediction(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.aws.queues.put_back", lambda *_, **__: None)

    def cut(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut", request=request)

    world.replicate.after_create = cut
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    for prediction_id in ("p0", "p1", "p2"):
        assert status(webhook_for(world.replicate.finish(prediction_id), world.clock), context) == 200
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert len(world.replicate.creates) == 3


# ── rejected webhooks ──


def test_changed_body_is_refused(world: World, context: SimpleNamespace, job_id: str) -> None:
    event = webhook_for(world.replicate.finish("p0"), world.clock)
    event["body"] = event["body"].replace("p0", "p1", 1)
    before = world.job(job_id)
    assert status(event, context) == 401
    assert world.job(job_id) == before


@pytest.mark.parametrize("seconds", [-301, 301])
def test_old_or_future_webhook_is_refused(
    world: World, context: SimpleNamespace, job_id: str, seconds: int
) -> None:
    event = webhook_for(world.replicate.finish("p0"), world.clock)
    world.clock.advance(seconds)
    assert status(event, context) == 401


def test_captured_webhook_with_another_query_is_refused(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    other = world.new_job(owner="bob")
    generate.handler(sqs_event(s3_notification(other)), context)
    before = world.job(other)
    event = webhook_for(world.replicate.finish("p0"), world.clock)
    webhooks.signing_secret()  # so that the signature is checked, and not only the key
    for query in (
        f"job_id={other}&image=0&attempt=1",
        event["rawQueryString"].replace("attempt=1", "attempt=2"),
        event["rawQueryString"].replace("image=", "image=1"),
        f"job_id={job_id}&image=99&attempt=1",
        "",
        "job_id=%00&image=0&attempt=1",
        event["rawQueryString"] + "&image=2",
    ):
        assert status({**event, "rawQueryString": query}, context) == 401, query
    assert world.job(other) == before


def test_without_an_echo_only_the_known_prediction_is_accepted(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    def bare(prediction_id: str) -> dict[str, Any]:
        done = world.replicate.finish(prediction_id)
        body = json.dumps({"id": prediction_id, "status": "succeeded", "output": done["output"]}).encode()
        return webhook_event(body, signed(body, world.clock), httpx.URL(done["webhook"]).query.decode())

    assert status(bare("p2"), context) == 200
    assert status({**bare("p0"), "rawQueryString": bare("p1")["rawQueryString"]}, context) == 401
    assert status(bare("p0"), context) == 200
    assert len(world.job(job_id).having(ImageStatus.STORED)) == 2


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"id": 7}', b"\xff\xfe"])
def test_signed_body_that_is_not_a_prediction_is_refused(
    world: World, context: SimpleNamespace, job_id: str, body: bytes
) -> None:
    webhooks.signing_secret()
    event = {
        "headers": signed(body, world.clock),
        "rawQueryString": f"job_id={job_id}&image=0&attempt=1",
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }
    assert status(event, context) == 401


@pytest.mark.parametrize(
    "event", [{}, {"headers": {}, "body": "x"}, {"body": "%%%", "isBase64Encoded": True}]
)
def test_unsigned_call_is_refused(world: World, context: SimpleNamespace, event: dict[str, Any]) -> None:
    assert status(event, context) == 401


def test_rotated_signing_secret_is_fetched(world: World, context: SimpleNamespace, job_id: str) -> None:
    assert status(webhook_for(world.replicate.finish("p0"), world.clock), context) == 200
    world.replicate.account.secret = OTHER_SECRET
    body = json.dumps(world.replicate.finish("p1")).encode()
    query = httpx.URL(world.replicate.predictions["p1"]["webhook"]).query.decode()

    def rotated() -> int:
        return status(webhook_event(body, signed(body, world.clock, secret=OTHER_SECRET), query), context)

    assert rotated() == 401  # the secret was fetched less than a minute ago
    world.clock.advance(61)
    assert rotated() == 200


def test_old_signing_secret_is_valid_for_at_most_ten_minutes(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    def old(prediction_id: str) -> int:
        return status(webhook_for(world.replicate.finish(prediction_id), world.clock), context)

    assert old("p0") == 200
    world.replicate.account.secret = OTHER_SECRET
    world.clock.advance(599)
    assert old("p1") == 200
    world.clock.advance(1)
    assert old("p2") == 401


def test_forged_webhooks_fetch_the_secret_once_a_minute(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    done = world.replicate.finish("p0")
    query, body = urlsplit(done["webhook"]).query, json.dumps(done).encode()
    for _ in range(20):
        world.clock.advance(10)
        forged = webhook_event(body, signed(body, world.clock, secret=OTHER_SECRET), query)
        assert status(forged, context) == 401
    assert 3 <= fetches(world) <= 5


def fetches(world: World) -> int:
    """Return how often the signing secret was asked for."""
    return sum(request.url.path.endswith("/secret") for request in world.replicate.requests)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, "x"),
        ({"webhook-id": ""}, None),
        ({"webhook-timestamp": "1"}, None),
        ({"webhook-timestamp": "soon"}, None),
        ({"webhook-signature": "v1,AAAA"}, None),
        ({"webhook-signature": "v2," + "A" * 44}, None),
    ],
)
def test_implausible_webhook_fetches_no_secret(
    world: World, context: SimpleNamespace, job_id: str, headers: dict[str, str], query: str | None
) -> None:
    done = world.replicate.finish("p0")
    right, body = urlsplit(done["webhook"]).query, json.dumps(done).encode()
    given = {**signed(body, world.clock), **headers}
    assert status(webhook_event(body, given, query or right), context) == 401
    assert fetches(world) == 0
    assert status(webhook_event(body, signed(body, world.clock), right), context) == 200
    assert fetches(world) == 1


@pytest.mark.parametrize("key", ["", "&key=", "&key=AAAAAAAAAAAAAAAAAAAAAA", "&key=%F0%9F%8E%A8"])
def test_webhook_without_its_key_fetches_no_secret(
    world: World, context: SimpleNamespace, job_id: str, key: str
) -> None:
    done = world.replicate.finish("p0")
    right, body = urlsplit(done["webhook"]).query, json.dumps(done).encode()
    without = right.partition("&key=")[0] + key
    for query in (without, right.replace("attempt=1", "attempt=2"), f"{right}&key=A"):
        assert status(webhook_event(body, signed(body, world.clock), query), context) == 401
    assert fetches(world) == 0
    other = urlsplit(world.replicate.finish("p1")["webhook"]).query
    assert status(webhook_event(body, signed(body, world.clock), other), context) == 401
    assert fetches(world) == 1
    # A function that knows the secret needs no key, so predictions of an earlier token are stored, too.
    assert status(webhook_event(body, signed(body, world.clock), without), context) == 200
    world.clock.advance(600)
    body = json.dumps(world.replicate.finish("p2")).encode()
    for _ in range(3):  # the secret may have been rotated since
        assert status(webhook_event(body, signed(body, world.clock), without), context) == 401
    assert fetches(world) == 1


def test_failed_fetch_of_the_secret_is_remembered(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    world.replicate.on_read = lambda _: httpx.Response(503)
    done = world.replicate.finish("p0")
    fetched = []
    for _ in range(200):  # a forgery each second
        world.clock.advance(1)
        assert status(webhook_for(done, world.clock), context) == 503
        fetched.append(fetches(world))
    tries = [second for second, count in enumerate(fetched) if count != ([0, *fetched][second])]
    assert [later - earlier for earlier, later in itertools.pairwise(tries)] == [5, 10, 20, 40, 60, 60]
    world.replicate.on_read = lambda _: None
    world.clock.advance(60)
    assert status(webhook_for(done, world.clock), context) == 200


def test_failed_read_of_the_token_is_remembered(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[datetime] = []

    def unreadable(**_: object) -> str:
        reads.append(world.clock.now())
        raise transport.ReplicateUnavailableError("no token")

    done = world.replicate.finish("p0")
    with monkeypatch.context() as patched:
        patched.setattr(transport, "token", unreadable)
        for _ in range(120):  # a call each second
            world.clock.advance(1)
            assert status(webhook_for(done, world.clock), context) == 503
    apart = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(reads)]
    assert apart == [5, 10, 20, 40]
    world.clock.advance(60)
    assert status(webhook_for(done, world.clock), context) == 200


def test_missing_signing_secret_is_answered_with_503(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    world.replicate.on_read = lambda _: httpx.Response(503)
    event = webhook_for(world.replicate.finish("p0"), world.clock)
    assert status(event, context) == 503
    world.replicate.on_read = lambda _: None
    world.clock.advance(5)
    assert status(event, context) == 200


# ── deleted and ended jobs ──


@pytest.mark.wastes
def test_webhook_of_a_deleted_job_stores_nothing(world: World, context: SimpleNamespace, job_id: str) -> None:
    event = webhook_for(world.replicate.finish("p0"), world.clock)
    table.delete(world.job(job_id))
    assert status(event, context) == 200
    assert world.object_keys(f"{bucket.OUTPUTS}/") == []


def test_late_output_is_removed(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_on = record.move_on

    def deadline_first(job: Any, *events: Any) -> Any:
        move_on(world.job(job_id), DeadlinePassed(0))
        return move_on(job, *events)

    monkeypatch.setattr(record, "move_on", deadline_first)
    assert status(webhook_for(world.replicate.finish("p0"), world.clock), context) == 200
    assert world.job(job_id).status is JobStatus.FAILED
    assert world.object_keys(f"{bucket.OUTPUTS}/") == []


def test_end_of_a_job_is_counted_once(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(record, "count", lambda name, _value=1: ended.append(name))
    for prediction_id in ("p0", "p1"):
        status(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
    put = table.put
    nested: list[bool] = []

    def the_same_first(*args: Any, **options: Any) -> Any:
        if not nested:
            nested.append(True)
            status(webhook_for(world.replicate.finish("p2"), world.clock), context)
        return put(*args, **options)

    monkeypatch.setattr(table, "put", the_same_first)
    status(webhook_for(world.replicate.finish("p2"), world.clock), context)
    assert ended.count("JobsSucceeded") == 1


def test_concurrent_webhooks_are_both_recorded(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = table.put
    nested: list[bool] = []

    def other_first(*args: Any, **options: Any) -> Any:
        if not nested:
            nested.append(True)
            status(webhook_for(world.replicate.finish("p1"), world.clock), context)
        return put(*args, **options)

    monkeypatch.setattr(table, "put", other_first)
    status(webhook_for(world.replicate.finish("p0"), world.clock), context)
    assert len(world.job(job_id).having(ImageStatus.STORED)) == 2


# ── downloads ──


def cut_off(request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("peer closed connection", request=request)


@pytest.mark.parametrize(
    "bad",
    [
        cut_off,
        lambda _: httpx.Response(500),
        lambda _: httpx.Response(404),
        lambda _: streamed(b"", content_length="0"),
        lambda _: streamed(PNG[:-20]),  # truncated, without a content-length
        lambda _: httpx.Response(302, headers={"location": "https://replicate.delivery/again"}),
    ],
)
def test_unavailable_output_is_stored_at_the_next_webhook(
    world: World, context: SimpleNamespace, job_id: str, bad: Any
) -> None:
    world.replicate.on_download = bad
    event = webhook_for(world.replicate.finish("p0"), world.clock)
    assert status(event, context) == 503
    assert world.job(job_id).having(ImageStatus.STORED) == []
    assert world.object_keys(f"{bucket.OUTPUTS}/") == []
    world.replicate.on_download = lambda _: streamed(PNG)
    assert status(event, context) == 200
    assert len(world.job(job_id).having(ImageStatus.STORED)) == 1


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (lambda _: streamed(b"<html>not a picture</html>", content_type="image/png"), "output_not_a_picture"),
        (lambda _: streamed(PNG + b"\0" * 1_000_000), "output_too_large"),
        (lambda _: streamed(PNG, content_length="1000001"), "output_too_large"),
        (
            lambda _: httpx.Response(302, headers={"location": "https://evil.example/"}),
            "output_host_not_allowed",
        ),
        (
            lambda _: httpx.Response(302, headers={"location": "http://replicate.delivery/"}),
            "output_host_not_allowed",
        ),
    ],
)
def test_unusable_output_fails_the_image(
    world: World, context: SimpleNamespace, job_id: str, bad: Any, code: str
) -> None:
    world.replicate.on_download = bad
    assert status(webhook_for(world.replicate.finish("p0"), world.clock), context) == 200
    error = world.job(job_id).images[image_of(world, job_id, "p0")].error
    assert error
    assert error.code == code
    assert world.object_keys(f"{bucket.OUTPUTS}/") == []


def test_redirect_within_the_allowed_hosts_is_followed(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    elsewhere = httpx.Response(302, headers={"location": "https://replicate.delivery/there.png"})
    world.replicate.on_download = lambda request: streamed(PNG) if "there" in request.url.path else elsewhere
    assert status(webhook_for(world.replicate.finish("p0"), world.clock), context) == 200
    assert len(world.job(job_id).having(ImageStatus.STORED)) == 1


def test_output_host_with_a_private_address_is_refused(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("10.0.0.7", 443))])
    done = world.replicate.finish("p0", output="https://internal.replicate.delivery/out.png")
    assert status(webhook_for(done, world.clock), context) == 200
    error = world.job(job_id).images[image_of(world, job_id, "p0")].error
    assert error
    assert error.code == "output_host_not_allowed"


def test_content_type_comes_from_the_bytes(world: World, context: SimpleNamespace, job_id: str) -> None:
    world.replicate.on_download = lambda _: streamed(
        b"\xff\xd8\xff\xe0 a jpeg \xff\xd9", content_type="text/html"
    )
    status(webhook_for(world.replicate.finish("p0"), world.clock), context)
    (image,) = world.job(job_id).having(ImageStatus.STORED)
    assert image.output
    assert image.output.content_type == "image/jpeg"
    assert image.output.key.endswith(".jpg")


def test_output_is_downloaded_without_the_token(world: World, context: SimpleNamespace, job_id: str) -> None:
    status(webhook_for(world.replicate.finish("p0"), world.clock), context)
    (download,) = [r for r in world.replicate.requests if r.url.host == "replicate.delivery"]
    assert "authorization" not in download.headers
    assert SECRET not in str(download.headers)

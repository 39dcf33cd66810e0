"""Tests of the stand-in for Replicate: its answers and its faults."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, override

import httpx
import pytest
from PIL import Image
from pydantic import JsonValue, TypeAdapter
from replicate.client import Client
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret

from tests.localcloud import drawing, replicate_predictions, sample
from tests.localcloud.replicate import ROOT, Server, StandIn, start
from tests.localcloud.replicate_faults import Fault
from tests.localcloud.replicate_predictions import Entry, Run
from tests.support.replicate import creation, webhooks
from tests.support.replicate.creation import parse_cancel_after
from tests.support.replicate.limits import Limiter, LowCredit
from tests.support.replicate.refusals import Hint, Json, RefusedError
from tests.support.replicate.schema import Page, Prediction
from tests.support.replicate.webhooks import sign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "r8_test"
KONTEXT = "black-forest-labs/flux-kontext-pro"
HINTING = {"retry-after", "ratelimit-remaining", "ratelimit-reset"}


@dataclass
class Call:
    """A received webhook."""

    headers: dict[str, str]
    body: bytes

    @property
    def prediction(self) -> Json:
        return TypeAdapter(Json).validate_json(self.body)


@dataclass
class Site:
    """A server that sends the photo and receives webhooks."""

    url: str = ""
    answers: list[int] = field(default_factory=list)  # statuses for the next webhooks; then 200
    calls: list[Call] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    holding: threading.Event = field(default_factory=threading.Event)  # webhooks are answered after it is set

    def wait(self, count: int) -> list[Call]:
        """Wait for the first `count` webhooks and return them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.calls) >= count, 20), "no webhook came"
            return self.calls[:count]


@pytest.fixture
def site() -> Iterator[Site]:
    it = Site()
    it.holding.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(sample.photo())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with it.changed:
                it.calls.append(Call({k.lower(): v for k, v in self.headers.items()}, body))
                status = it.answers.pop(0) if it.answers else 200
                it.changed.notify_all()
            it.holding.wait(20)
            self.send_response(status)
            self.send_header("location", f"{it.url}/elsewhere")
            self.end_headers()

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield it
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def process() -> Iterator[StandIn]:
    with start(
        TOKEN,
        seconds=0.02,
        webhook_scale=0.002,
        creates_per_minute=0,
        requests_per_minute=0,
        allow_http_webhooks=True,
    ) as it:
        yield it


def until(look: Callable[[], object]) -> None:
    """Poll `look` until it returns something."""
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline, "the awaited state did not occur"


@dataclass
class Replicate:
    """The stand-in and a client."""

    process: StandIn
    site: Site
    http: httpx.Client

    def create(
        self, given: Json | None = None, *, model: str = KONTEXT, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        photo: Json = {"prompt": "as a painting", "input_image": f"{self.site.url}/photo.jpg?signed=1"}
        body: Json = {
            "input": photo | (given or {}),
            "webhook": f"{self.site.url}/webhook?job=1",
            "webhook_events_filter": ["completed"],
        }
        return self.http.post(f"/v1/models/{model}/predictions", json=body, headers=headers)

    def wait(self, given: Json | None = None) -> Json:
        """Create a prediction, wait for its end and return it."""
        response = self.create(given, headers={"prefer": "wait"})
        assert response.status_code == 201
        return TypeAdapter(Json).validate_json(response.content)

    def entry(self, prediction_id: str) -> Entry:
        return next(entry for entry in self.process.ledger().predictions if entry.id == prediction_id)

    def finished(self) -> Entry:
        """Create a prediction, wait for its webhook and return its entry in the ledger."""
        self.create()
        (call,) = self.site.wait(1)
        return self.entry(str(call.prediction["id"]))

    def verify(self, call: Call) -> None:
        secret = WebhookSigningSecret(key=self.http.get("/v1/webhooks/default/secret").json()["key"])
        Webhooks.validate(headers=call.headers, body=call.body.decode(), secret=secret, tolerance=300)


@pytest.fixture(scope="module")
def http(process: StandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=process.url, headers={"authorization": f"Bearer {TOKEN}"}) as it:
        yield it


@pytest.fixture
def replicate(process: StandIn, site: Site, http: httpx.Client) -> Iterator[Replicate]:
    http.timeout = httpx.Timeout(20)
    yield Replicate(process, site, http)
    process.set_faults()


def created(server: Server, body: bytes, cancel_after: str | None = None) -> Run:
    """Create a prediction without a request to the server."""
    request = creation.read(KONTEXT, body, cancel_after, allow_http_webhooks=True)
    with server.runner.lock:
        return server.runner.run(server.runner.account.create(request, time.time_ns()).id)


def test_three_predictions_of_a_photo_have_different_outputs(replicate: Replicate) -> None:
    created = [replicate.create({"seed": seed}) for seed in (1, 1, 1)]
    for response in created:
        answer = response.json()
        assert response.status_code == 201
        assert answer["status"] == "starting"
        assert answer["version"] == "hidden"
        assert answer["output"] is None
        assert len(answer["created_at"].partition(".")[2]) == len("123456789Z")
    outputs = []
    for call in replicate.site.wait(3):
        replicate.verify(call)
        assert call.prediction["status"] == "succeeded"
        output = replicate.http.get(str(call.prediction["output"]))
        assert output.headers["content-type"] == "image/png"
        outputs.append(Image.open(io.BytesIO(output.content)).resize((8, 6)).tobytes())
    photo = Image.open(io.BytesIO(sample.photo())).resize((8, 6)).tobytes()
    for index, one in enumerate(outputs):
        for other in (*outputs[:index], photo):
            assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one) > 8
    for response in created:
        entry = replicate.entry(response.json()["id"])
        assert entry.fetched
        assert entry.fetched.sha256 == hashlib.sha256(sample.photo()).hexdigest()
        assert (entry.fetches, entry.billed, entry.status) == (1, True, "succeeded")


def test_replicates_own_client_works_with_the_stand_in(replicate: Replicate) -> None:
    own = Client(TOKEN, base_url=replicate.process.url)
    photo = {"prompt": "a", "input_image": f"{replicate.site.url}/photo.jpg", "output_format": "jpg"}
    prediction = own.predictions.create(version=KONTEXT, input=photo, webhook=f"{replicate.site.url}/webhook")
    replicate.site.wait(1)
    prediction.reload()
    assert prediction.status == "succeeded"
    assert str(prediction.output).endswith(".jpg")
    assert own.predictions.get(prediction.id).output == prediction.output
    assert own.predictions.list().results[0].id == prediction.id
    prediction.cancel()
    assert own.predictions.get(prediction.id).status == "succeeded"


@pytest.mark.parametrize(
    ("model", "photo", "output_format", "as_list"),
    [
        ("black-forest-labs/flux-2-pro", "input_images", "webp", False),
        ("google/nano-banana-2", "image_input", "jpg", False),
        ("bytedance/seedream-4", "image_input", "jpg", True),
        ("qwen/qwen-image-edit-2511", "image", "png", True),
    ],
)
def test_each_model_has_its_own_input_and_output(
    replicate: Replicate, model: str, photo: str, output_format: str, *, as_list: bool
) -> None:
    refused = replicate.create({photo: f"{replicate.site.url}/photo.jpg"}, model=model)
    assert (refused.status_code, refused.json()["invalid_fields"][0]["field"]) == (422, f"input.{photo}")
    replicate.create(
        {photo: [f"{replicate.site.url}/photo.jpg"], "output_format": output_format}, model=model
    )
    output = replicate.site.wait(1)[0].prediction["output"]
    assert isinstance(output, list) is as_list
    url = output[0] if isinstance(output, list) else output
    assert str(url).endswith(f"/out-0.{output_format}")
    format_name = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[output_format]
    assert Image.open(io.BytesIO(replicate.http.get(str(url)).content)).format == format_name


GOOD: Json = {"prompt": "a", "input_image": "https://bucket.example/photo.jpg?signed=1"}


@pytest.mark.parametrize(
    ("path", "body", "status", "wrong"),
    [
        ("models/nobody/nothing", {"input": GOOD}, 404, None),
        ("deployments/nobody/nothing", {"input": GOOD}, 404, None),
        (f"models/{KONTEXT}", {"input": GOOD, "version": "a/b"}, 422, "version"),
        (f"models/{KONTEXT}", {"input": GOOD, "idempotency_key": "1"}, 422, "idempotency_key"),
        (f"models/{KONTEXT}", {}, 422, "input"),
        (f"models/{KONTEXT}", [], 422, "body"),
        (f"models/{KONTEXT}", {"input": {"prompt": "a"}}, 422, "input.input_image"),
        (
            f"models/{KONTEXT}",
            {"input": GOOD | {"input_image": ["https://a/b.jpg"]}},
            422,
            "input.input_image",
        ),
        (f"models/{KONTEXT}", {"input": GOOD | {"input_image": "s3://a/b.jpg"}}, 422, "input.input_image"),
        (f"models/{KONTEXT}", {"input": GOOD | {"seed": "1"}}, 422, "input.seed"),
        (f"models/{KONTEXT}", {"input": GOOD | {"output_format": "webp"}}, 422, "input.output_format"),
        (f"models/{KONTEXT}", {"input": {"input_image": "https://a/b.jpg"}}, 422, "input.prompt"),
        (f"models/{KONTEXT}", {"input": GOOD, "webhook": "/webhook"}, 422, "webhook"),
        (f"models/{KONTEXT}", {"input": GOOD, "webhook": "ftp://a/b"}, 422, "webhook"),
        (f"models/{KONTEXT}", {"input": GOOD, "webhook": "https://"}, 422, "webhook"),
        (
            f"models/{KONTEXT}",
            {"input": GOOD, "webhook_events_filter": ["done"]},
            422,
            "webhook_events_filter.0",
        ),
        ("", {"input": GOOD}, 422, "version"),
        ("", {"input": GOOD, "version": "a/b:beef"}, 422, "version"),
        ("", {"input": GOOD, "version": "a/b"}, 404, None),
    ],
)
def test_request_that_replicate_refuses_is_refused(
    replicate: Replicate, path: str, body: JsonValue, status: int, wrong: str | None
) -> None:
    before = replicate.process.ledger()
    response = replicate.http.post("/v1/" + f"{path}/predictions".lstrip("/"), json=body)
    assert response.status_code == status
    if wrong:
        assert wrong in [problem["field"] for problem in response.json()["invalid_fields"]]
    after = replicate.process.ledger()
    assert after.created == before.created
    assert (after.refused[-1].status, after.refused[-1].injected) == (status, False)


@pytest.mark.parametrize("version", [f"{KONTEXT}:{'ab' * 32}", "ab" * 32, KONTEXT])
def test_version_has_three_forms(replicate: Replicate, version: str) -> None:
    response = replicate.http.post("/v1/predictions", json={"input": GOOD, "version": version})
    assert response.status_code == 201
    assert response.json()["version"] == (version.rpartition(":")[2] if "ab" * 32 in version else "hidden")


@pytest.mark.parametrize("header", [None, "Bearer wrong", TOKEN, "Basic r8_test"])
def test_request_without_the_token_is_refused(replicate: Replicate, header: str | None) -> None:
    headers = {"authorization": header} if header else {}
    for path in ("/v1/predictions", "/v1/webhooks/default/secret"):
        response = httpx.get(replicate.process.url + path, headers=headers)
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["title"] == "Unauthenticated"


def test_missing_or_malformed_resources_are_refused(replicate: Replicate) -> None:
    assert replicate.http.get("/v1/predictions/none").json()["detail"]
    assert replicate.http.get("/v1/predictions/none").status_code == 404
    assert replicate.http.post("/v1/predictions/none/cancel").status_code == 404
    assert replicate.http.get("/outputs/none/out-0.png").status_code == 404
    assert replicate.http.put("/v1/predictions").status_code == 405
    assert replicate.http.post("/v1/predictions", content=b"{").status_code == 400
    assert replicate.http.get("/v1/predictions?cursor=%00").status_code == 404
    assert replicate.http.get("/v1/predictions?created_after=yesterday").status_code == 422


@pytest.mark.parametrize(
    ("header", "seconds"), [("30s", 30), ("5m", 300), ("1h30m45s", 5445), ("5", 5), ("1h5s", 3605)]
)
def test_cancel_after_is_a_duration(header: str, seconds: int) -> None:
    assert parse_cancel_after(header) == seconds


@pytest.mark.parametrize(
    "header", ["", "4", "4s", "5x", "-5", "5 m", "1h30", "30s5m", "1.5m", "5M", "\u0665m"]
)
def test_invalid_cancel_after_is_refused(header: str) -> None:
    with pytest.raises(RefusedError, match="Cancel-After"):
        parse_cancel_after(header)


def test_deadline_ends_a_prediction(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creation, "MINIMUM_LIFETIME", 1)
    faults = (Fault(kind="slow_start", times=1), Fault(kind="slow_run"))
    server = Server(TOKEN, seconds=0.01, faults=faults)
    body = json.dumps({"input": GOOD | {"input_image": f"{site.url}/photo.jpg"}}).encode()
    runs = [created(server, body, "1s") for _ in range(2)]
    for run in runs:
        assert server.runner.wait(run, 10)
    server.server_close()
    ends = [(run.prediction.status, run.entry().billed) for run in runs]
    assert ends == [("aborted", False), ("canceled", True)]


def test_deadline_is_in_every_answer(replicate: Replicate) -> None:
    made = replicate.create(headers={"cancel-after": "1m30s"}).json()
    found = replicate.http.get(f"/v1/predictions/{made['id']}").json()
    lifetime = datetime.fromisoformat(found["deadline"]) - datetime.fromisoformat(found["created_at"])
    assert lifetime == timedelta(seconds=90)
    assert made["deadline"] == found["deadline"]
    assert "deadline" not in replicate.create().json()
    replicate.site.wait(2)


def test_run_fails_after_its_time_limit(site: Site) -> None:
    server = Server(TOKEN, seconds=0.01, run_seconds=0.1, faults=(Fault(kind="slow_run"),))
    body = json.dumps({"input": GOOD | {"input_image": f"{site.url}/photo.jpg"}}).encode()
    run = created(server, body, "30m")
    assert server.runner.wait(run, 5)
    server.server_close()
    assert (run.prediction.status, run.prediction.error) == ("failed", "Prediction timed out.")
    assert run.entry().billed


def test_aborted_prediction_calls_no_webhook(replicate: Replicate) -> None:
    replicate.process.set_faults(Fault(kind="abort", times=1))
    aborted = replicate.wait()
    succeeded = replicate.wait()
    assert [call.prediction["id"] for call in replicate.site.wait(1)] == [succeeded["id"]]
    assert replicate.entry(str(aborted["id"])).deliveries == []


def test_http_webhook_is_refused_unless_allowed(site: Site) -> None:
    body: dict[str, JsonValue] = {"version": KONTEXT, "input": GOOD}
    headers = {"authorization": f"Bearer {TOKEN}"}
    with start(TOKEN) as process, httpx.Client(base_url=process.url, headers=headers) as http:
        refused = http.post("/v1/predictions", json=body | {"webhook": f"{site.url}/webhook"})
        assert refused.status_code == 422
        assert [problem["field"] for problem in refused.json()["invalid_fields"]] == ["webhook"]
        taken = http.post("/v1/predictions", json=body | {"webhook": "https://127.0.0.1:1/webhook"})
        assert taken.status_code == 201


def test_answers_match_the_schema(replicate: Replicate) -> None:
    headers = {"cancel-after": "5m"}
    replicate.process.set_faults(Fault(kind="slow_run", times=1))
    running = replicate.create(headers=headers)
    path = f"/v1/predictions/{running.json()['id']}"
    answers = [running]
    until(lambda: replicate.http.get(path).json()["status"] == "processing")
    answers.append(replicate.http.get(path))
    answers.append(replicate.http.post(f"{path}/cancel"))
    answers.append(replicate.create(headers={**headers, "prefer": "wait"}))
    replicate.process.set_faults(Fault(kind="fail", times=1), Fault(kind="abort", skip=1, times=1))
    answers += [replicate.create(headers={"prefer": "wait"}) for _ in range(2)]
    bodies = [answer.content for answer in answers] + [call.body for call in replicate.site.wait(3)]
    statuses = [Prediction.model_validate_json(body).status for body in bodies]
    assert set(statuses) == {"starting", "processing", "canceled", "succeeded", "failed", "aborted"}
    replicate.process.set_faults(Fault(kind="web_row"))
    page = Page.model_validate_json(replicate.http.get("/v1/predictions").content)
    assert {row.source for row in page.results} == {"web", "api"}


def test_source_filters_the_list(replicate: Replicate) -> None:
    replicate.create()
    replicate.site.wait(1)
    assert replicate.http.get("/v1/predictions?source=web").json()["results"] == []
    replicate.process.set_faults(Fault(kind="web_row"))
    (row,) = replicate.http.get("/v1/predictions?source=web").json()["results"]
    assert row["source"] == "web"
    refused = replicate.http.get("/v1/predictions?source=api")
    assert (refused.status_code, refused.json()["invalid_fields"][0]["field"]) == (422, "source")


def test_list_lags_behind_the_create(replicate: Replicate) -> None:
    replicate.process.set_faults(Fault(kind="list_lag", seconds=60, times=1))
    made = replicate.create().json()
    late, current = (replicate.http.get("/v1/predictions").json()["results"] for _ in range(2))
    assert made["id"] not in {row["id"] for row in late}
    assert made["id"] == current[0]["id"]
    replicate.site.wait(1)


def test_cancel_ends_a_prediction_before_and_during_its_run(replicate: Replicate) -> None:
    replicate.process.set_faults(Fault(kind="slow_start", times=1), Fault(kind="slow_run"))
    waiting = replicate.create().json()["id"]
    assert replicate.http.post(f"/v1/predictions/{waiting}/cancel").json()["status"] == "canceled"
    assert replicate.site.wait(1)[0].prediction["status"] == "canceled"
    assert not replicate.entry(waiting).billed
    running = replicate.create().json()["id"]
    until(lambda: replicate.http.get(f"/v1/predictions/{running}").json()["status"] == "processing")
    assert replicate.http.post(f"/v1/predictions/{running}/cancel").json()["status"] == "canceled"
    assert replicate.entry(running).billed
    replicate.site.wait(2)


def test_list_is_newest_first_and_has_pages(replicate: Replicate) -> None:
    body = {"version": KONTEXT, "input": GOOD | {"input_image": "http://127.0.0.1:1/photo.jpg"}}
    made = [replicate.http.post("/v1/predictions", json=body).json() for _ in range(103)]
    since = {"created_after": made[0]["created_at"]}
    first = replicate.http.get("/v1/predictions", params=since).json()
    assert [row["id"] for row in first["results"]] == [row["id"] for row in reversed(made[3:])]
    assert first["results"][0]["input"] == made[-1]["input"]
    assert first["previous"] is None
    second = replicate.http.get(first["next"]).json()
    assert [row["id"] for row in second["results"]] == [row["id"] for row in reversed(made[:3])]
    assert second["next"] is None
    again = replicate.http.get(second["previous"]).json()
    assert [row["id"] for row in again["results"]] == [row["id"] for row in first["results"]]
    between = since | {"created_before": made[1]["created_at"]}
    assert len(replicate.http.get("/v1/predictions", params=between).json()["results"]) == 1


def test_prefer_wait_answers_at_the_predictions_end(replicate: Replicate) -> None:
    response = replicate.create(headers={"prefer": "wait"})
    assert (response.status_code, response.json()["status"]) == (201, "succeeded")
    replicate.process.set_faults(Fault(kind="slow_run"))
    response = replicate.create(headers={"prefer": "wait=1"})
    assert (response.status_code, response.json()["status"]) == (202, "processing")
    replicate.http.post(f"/v1/predictions/{response.json()['id']}/cancel")


def test_data_are_removed_after_the_retention(site: Site) -> None:
    with (
        start(TOKEN, seconds=0.01, retention=0.3, allow_http_webhooks=True) as process,
        httpx.Client(base_url=process.url, headers={"authorization": f"Bearer {TOKEN}"}) as http,
    ):
        replicate = Replicate(process, site, http)
        output = replicate.finished().output
        assert http.get(str(output)).status_code == 200
        until(lambda: http.get("/v1/predictions").json()["results"][0]["data_removed"])
        answer = http.get("/v1/predictions").json()["results"][0]
        assert (answer["output"], answer["input"], answer["logs"]) == (None, {}, "")
        Prediction.model_validate_json(json.dumps(answer))
        assert http.get(str(output)).status_code == 404
        assert process.ledger().predictions[0].output == output


def test_signature_matches_the_published_example() -> None:
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_webhooks_follow_the_events_filter(replicate: Replicate) -> None:
    body = {
        "version": KONTEXT,
        "input": GOOD | {"input_image": f"{replicate.site.url}/photo.jpg"},
        "webhook": f"{replicate.site.url}/webhook",
        "webhook_events_filter": ["start", "output", "logs", "completed"],
    }
    replicate.http.post("/v1/predictions", json=body)
    statuses = sorted(str(call.prediction["status"]) for call in replicate.site.wait(4))
    assert statuses == ["processing", "processing", "processing", "succeeded"]


def test_webhook_is_redelivered_with_the_same_id(replicate: Replicate) -> None:
    replicate.site.answers = [500, 404]
    entry = replicate.finished()
    calls = replicate.site.wait(3)
    assert len({call.headers["webhook-id"] for call in calls}) == 1
    for call in calls:
        replicate.verify(call)
    until(lambda: len(replicate.entry(entry.id).deliveries) == 3)
    tries = [(delivery.kind, delivery.status) for delivery in replicate.entry(entry.id).deliveries]
    assert tries == [("genuine", 500), ("retry", 404), ("retry", 200)]


def test_webhook_is_delivered_at_most_five_times(replicate: Replicate) -> None:
    replicate.site.answers = [500] * 10
    first, second = replicate.finished(), replicate.wait()
    until(lambda: len(replicate.entry(first.id).deliveries) == 5)
    until(lambda: len(replicate.entry(str(second["id"])).deliveries) == 5)
    assert len(replicate.site.calls) == 10


def test_webhook_deliveries_back_off_exponentially() -> None:
    waits = [later - sooner for sooner, later in itertools.pairwise(webhooks.RETRIES)]
    assert [later / sooner for sooner, later in itertools.pairwise(waits)] == [2, 2, 2]
    assert webhooks.RETRIES[-1] == 60


def test_slow_answer_to_a_webhook_counts_as_none(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicate_predictions, "WEBHOOK_SECONDS", 0.2)
    site.holding.clear()
    server = Server(TOKEN, seconds=0.01, webhook_scale=0.001, allow_http_webhooks=True)
    given = {
        "input": GOOD | {"input_image": f"{site.url}/photo.jpg"},
        "webhook": f"{site.url}/webhook",
        "webhook_events_filter": ["completed"],
    }
    run = created(server, json.dumps(given).encode())
    site.wait(1)
    since = time.monotonic()
    site.wait(2)
    assert time.monotonic() - since < 5  # the HTTP client's own timeout is longer
    site.holding.set()
    until(lambda: [each.status for each in run.deliveries][-1:] == [200])
    server.server_close()
    assert (run.deliveries[0].status, run.deliveries[0].error) == (
        None,
        "ReadTimeout: timed out",
    )


def test_redirect_is_neither_followed_nor_redelivered(replicate: Replicate) -> None:
    replicate.process.set_faults(Fault(kind="duplicate_webhook", times=1))  # it follows all retries
    replicate.site.answers = [301]
    entry = replicate.finished()
    until(lambda: len(replicate.entry(entry.id).deliveries) == 2)
    deliveries = [(one.kind, one.status) for one in replicate.entry(entry.id).deliveries]
    assert deliveries == [("genuine", 301), ("duplicate", 200)]


def test_webhooks_are_dropped_duplicated_and_reordered(replicate: Replicate) -> None:
    replicate.process.set_faults(
        Fault(kind="drop_webhook", times=1),
        Fault(kind="duplicate_webhook", times=1, copies=2),
        Fault(kind="reorder_webhooks", times=1),
    )
    dropped = replicate.wait()
    delivered = replicate.wait()
    calls = replicate.site.wait(4)
    assert dropped["id"] not in {call.prediction["id"] for call in calls}
    assert [call.prediction["status"] for call in calls] == ["succeeded"] * 3 + ["processing"]
    assert {call.prediction["id"] for call in calls} == {delivered["id"]}
    assert len({call.headers["webhook-id"] for call in calls[:3]}) == 1
    for call in calls:
        replicate.verify(call)


@pytest.mark.parametrize("kind", ["forge_webhook", "unsign_webhook", "stale_webhook"])
def test_forged_webhook_does_not_verify(replicate: Replicate, kind: str) -> None:
    replicate.process.set_faults(Fault.model_validate({"kind": kind, "times": 1}))
    replicate.create()
    forged, genuine = replicate.site.wait(2)
    assert forged.prediction["status"] == "failed"
    with pytest.raises((InvalidSignatureError, ValueError)):
        replicate.verify(forged)
    replicate.verify(genuine)


def test_secret_is_rotated(replicate: Replicate) -> None:
    before = replicate.http.get("/v1/webhooks/default/secret").json()["key"]
    replicate.process.set_faults(Fault(kind="rotate_secret", times=1))
    replicate.create()
    replicate.verify(replicate.site.wait(1)[0])
    assert replicate.http.get("/v1/webhooks/default/secret").json()["key"] != before


@pytest.mark.parametrize(
    ("status", "key"),
    [
        (401, "title"),
        (402, "title"),
        (404, "detail"),
        (422, "invalid_fields"),
        (429, "detail"),
        (503, "detail"),
    ],
)
def test_refusal_creates_no_prediction(replicate: Replicate, status: int, key: str) -> None:
    before = replicate.process.ledger().created
    replicate.process.set_faults(Fault(kind="refuse", status=status, seconds=7, skip=1, times=1))
    answers = [replicate.create() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, status, 201]
    assert key in answers[1].json()
    ledger = replicate.process.ledger()
    assert ledger.created == before + 2
    assert ledger.refused[-1].injected


@pytest.mark.parametrize(
    ("hints", "body", "headers"),
    [
        ((), {}, {}),
        (("body",), {"status": 429, "retry_after": 7}, {}),
        (("header",), {}, {"retry-after": "7"}),
        (("ratelimit",), {}, {"ratelimit-remaining": "0", "ratelimit-reset": "7"}),
    ],
)
def test_throttled_answer_has_the_hints_of_its_fault(
    replicate: Replicate, hints: tuple[Hint, ...], body: Json, headers: dict[str, str]
) -> None:
    replicate.process.set_faults(Fault(kind="refuse", status=429, seconds=6.2, hints=hints))
    answer = replicate.create()
    assert answer.status_code == 429
    detail = "Request was throttled. Your rate limit resets in ~7s."
    assert answer.json() == {"detail": detail, **body}
    hinting = {name: answer.headers[name] for name in HINTING & set(answer.headers)}
    assert hinting == headers


@pytest.mark.parametrize("retry_after", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", -5, 10**9])
def test_throttled_answer_can_have_any_retry_after(replicate: Replicate, retry_after: str | int) -> None:
    fault = Fault(kind="refuse", status=429, hints=("body", "header"), retry_after=retry_after)
    replicate.process.set_faults(fault)
    answer = replicate.create()
    assert (answer.json()["retry_after"], answer.headers["retry-after"]) == (retry_after, str(retry_after))


def test_low_credit_allows_one_create_a_second_six_a_minute(replicate: Replicate) -> None:
    replicate.process.set_faults(Fault(kind="low_credit"))
    answers = [replicate.create() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 429, 429]
    assert list(answers[1].json()) == ["detail"]
    assert not HINTING & set(answers[0].headers)
    replicate.process.set_faults(Fault(kind="low_credit", apart=0, hints=("body", "ratelimit")))
    answers = [replicate.create() for _ in range(7)]
    assert [answer.status_code for answer in answers] == [201] * 6 + [429]
    assert 50 < answers[6].json()["retry_after"] <= 60
    assert answers[0].headers["ratelimit-remaining"] == "0"


def test_low_credit_recovers() -> None:
    now = 1000.0
    credit = LowCredit(apart=1, minute=60)
    taken: list[float] = []
    while now < 1120:
        left, wait = credit.take(now)
        if left < 0:
            now += wait
        else:
            taken.append(now - 1000)
    assert taken == [0, 1, 2, 3, 4, 5, 60, 61, 62, 63, 64, 65]


def test_other_requests_have_their_own_limit(site: Site) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    with (
        start(TOKEN, seconds=0.01, requests_per_minute=3, allow_http_webhooks=True) as process,
        httpx.Client(base_url=process.url, headers=headers) as http,
    ):
        replicate = Replicate(process, site, http)
        made = [replicate.wait() for _ in range(4)]
        paths = ["/v1/predictions", f"/v1/predictions/{made[0]['id']}", "/v1/webhooks/default/secret"]
        assert [http.get(path).status_code for path in [*paths, *paths]] == [200] * 3 + [429] * 3
        refused = http.post(f"/v1/predictions/{made[0]['id']}/cancel")
        assert (refused.status_code, list(refused.json())) == (429, ["detail"])
        assert http.get(str(made[0]["output"])).status_code == 200
        assert replicate.create().status_code == 201


def test_documented_limits_are_the_defaults() -> None:
    server = Server(TOKEN)
    creates, others = server.runner.account.creates, server.runner.account.others
    server.server_close()
    assert isinstance(creates, Limiter)
    assert isinstance(others, Limiter)
    assert (creates.burst, creates.every, others.burst, others.every) == (600, 0.1, 3000, 0.02)


@pytest.mark.parametrize("kind", ["cut", "bad_gateway", "hang"])
def test_lost_answer_leaves_its_prediction(replicate: Replicate, kind: str) -> None:
    before = replicate.process.ledger().created
    replicate.process.set_faults(Fault.model_validate({"kind": kind, "seconds": 30, "times": 1}))
    replicate.http.timeout = httpx.Timeout(1)
    if kind == "bad_gateway":
        response = replicate.create()
        assert (response.status_code, response.headers["content-type"]) == (502, "text/html")
    else:
        with pytest.raises(httpx.TransportError):
            replicate.create()
    assert replicate.process.ledger().created == before + 1
    assert replicate.site.wait(1)[0].prediction["status"] == "succeeded"


@pytest.mark.parametrize("status", [502, 504, 520, 521, 522, 523, 524])
def test_gateway_error_leaves_its_prediction(replicate: Replicate, status: int) -> None:
    replicate.process.set_faults(Fault(kind="bad_gateway", gateway_status=status, times=1))
    assert replicate.create().status_code == status
    assert replicate.site.wait(1)[0].prediction["status"] == "succeeded"


def test_create_is_answered_with_202_or_without_json(replicate: Replicate) -> None:
    replicate.process.set_faults(Fault(kind="accepted", times=1), Fault(kind="no_json", skip=1, times=1))
    accepted, page = replicate.create(), replicate.create()
    assert (accepted.status_code, accepted.json()["status"]) == (202, "starting")
    assert (page.status_code, page.headers["content-type"], page.text[:6]) == (201, "text/html", "<html>")
    replicate.site.wait(2)


def test_ledger_lists_the_client_of_a_delayed_answer(replicate: Replicate) -> None:
    def held() -> set[int]:
        return set(replicate.process.ledger().held)

    before = held()
    replicate.process.set_faults(Fault(kind="hang", seconds=1, times=1))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(replicate.create)
        until(lambda: held() - before)
        port = (held() - before).pop()
        stream = future.result().extensions["network_stream"]
    assert stream.get_extra_info("client_addr")[1] == port
    assert port not in held()


def test_answers_can_lack_fields_or_hold_malformed_rows(replicate: Replicate) -> None:
    replicate.process.set_faults(Fault(kind="drop_fields", times=1), Fault(kind="malformed_row", times=1))
    answer = replicate.create().json()
    assert not {"version", "model", "urls", "output"} & set(answer)
    row = replicate.http.get("/v1/predictions").json()["results"][0]
    assert (row["status"], row["version"], isinstance(row["error"], str)) == ("aborted", None, False)
    assert replicate.http.get("/v1/predictions").json()["results"][0]["id"] == answer["id"]


@pytest.mark.parametrize("echoes", [False, True])
def test_echoed_fields_are_optional(replicate: Replicate, *, echoes: bool) -> None:
    if echoes:
        replicate.process.set_faults(Fault(kind="echo"))
    created = replicate.create().json()
    webhook = replicate.site.wait(1)[0].prediction
    got = replicate.http.get(f"/v1/predictions/{created['id']}").json()
    row = replicate.http.get("/v1/predictions").json()["results"][0]
    canceled = replicate.http.post(f"/v1/predictions/{created['id']}/cancel").json()
    for answer in (created, webhook, got, row, canceled):
        assert answer["id"] == created["id"]
        assert answer["input"]
        extra = {"webhook", "webhook_events_filter", "source"} & set(answer)
        assert extra == ({"webhook", "webhook_events_filter", "source"} if echoes else set())


@pytest.mark.parametrize("status", [401, 403])
def test_output_can_require_the_token(replicate: Replicate, status: int) -> None:
    url = str(replicate.finished().output)
    replicate.process.set_faults(Fault(kind="output_token", status=status))
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert httpx.get(url, headers=headers).status_code == status
    assert replicate.http.get(url).status_code == 200
    ledger = replicate.process.ledger()
    assert [fetch.authorized for fetch in ledger.predictions[-1].output_fetches] == [True]
    assert (ledger.refused[-1].status, ledger.refused[-1].injected) == (status, True)
    elsewhere = "https://elsewhere.example/out.png"
    replicate.process.set_faults(
        Fault(kind="output_token", status=status), Fault(kind="output_redirect", url=elsewhere)
    )
    assert httpx.get(url).status_code == status
    assert replicate.http.get(url).headers["location"] == elsewhere


def test_faults_hit_the_chosen_predictions(replicate: Replicate) -> None:
    replicate.process.set_faults(Fault(kind="fail", skip=1, times=1), Fault(kind="abort", skip=2, times=1))
    answers = [replicate.wait() for _ in range(3)]
    assert [answer["status"] for answer in answers] == ["succeeded", "failed", "aborted"]
    assert "NSFW" in str(answers[1]["error"])
    assert answers[1]["output"] is None


def test_unreadable_photo_fails_the_prediction(replicate: Replicate) -> None:
    for url in ("http://127.0.0.1:1/photo.jpg", f"{replicate.process.url}/_ledger"):
        answer = replicate.wait({"input_image": url})
        assert answer["status"] == "failed"
        assert answer["error"]


def test_output_can_be_null_or_another_type(replicate: Replicate) -> None:
    replicate.process.set_faults(
        Fault(kind="output_null", times=1), Fault(kind="output_list", skip=1, times=1)
    )
    answers = [replicate.wait() for _ in range(2)]
    assert [type(answer["output"]) for answer in answers] == [type(None), list]


def test_output_downloads_fail_as_their_faults_say(replicate: Replicate) -> None:
    url = str(replicate.finished().output)
    whole = replicate.http.get(url).content
    replicate.process.set_faults(Fault(kind="refuse", on="output", status=404, times=2))
    assert [replicate.http.get(url).status_code for _ in range(3)] == [404, 404, 200]
    replicate.process.set_faults(Fault(kind="cut", on="output", times=1))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        replicate.http.get(url)
    replicate.process.set_faults(Fault(kind="output_redirect", times=1, url="http://169.254.169.254/"))
    assert replicate.http.get(url).headers["location"] == "http://169.254.169.254/"
    replicate.process.set_faults(Fault(kind="output_html", times=1))
    response = replicate.http.get(url)
    assert (response.headers["content-type"], response.text[:6]) == ("image/png", "<html>")
    for chunked in (True, False):
        replicate.process.set_faults(Fault(kind="output_oversized", size=3_000_000, chunked=chunked, times=1))
        response = replicate.http.get(url)
        assert (len(response.content), "content-length" in response.headers) == (3_000_000, not chunked)
    assert replicate.http.get(url).content == whole
    assert httpx.get(url).content == whole
    fetches = replicate.process.ledger().predictions[-1].output_fetches
    assert fetches[0].authorized
    assert not fetches[-1].authorized


def test_unknown_fault_is_refused(replicate: Replicate) -> None:
    for faults in (b'[{"kind": "gremlins"}]', b'[{"kind": "cut", "often": 1}]', b"{", b'{"kind": "cut"}'):
        assert replicate.http.post("/_faults", content=faults).status_code == 422
    assert replicate.http.get("/_faults").json() == []


def test_stop_ends_the_stand_in_cleanly() -> None:
    with start(TOKEN, creates_per_minute=1) as process:
        headers = {"authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=process.url, headers=headers) as open_connection:
            body = {"version": KONTEXT, "input": GOOD}
            statuses = [open_connection.post("/v1/predictions", json=body).status_code for _ in range(2)]
            assert statuses == [201, 429]
            process.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(process.url)
    process.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_stand_in_with_exit_code_0(number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.localcloud.replicate",
        "--token",
        TOKEN,
        "--fault",
        '{"kind": "cut"}',
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        assert set(json.loads(process.stdout.readline())) == {"url"}
        process.send_signal(number)
        assert process.wait(10) == 0


def test_stand_in_ends_with_its_parent() -> None:
    parent = "from tests.localcloud.replicate import start; running = start('t'); print(running.url, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        url = process.stdout.readline().decode().strip()
        assert httpx.get(f"{url}/_ledger").status_code == 200
        process.kill()
        process.communicate(timeout=20)  # the stand-in shares stderr, so this waits for both to end
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/_ledger")


def test_failed_start_is_an_error() -> None:
    with start(TOKEN) as process, pytest.raises(RuntimeError, match="ended with 1"):
        start(TOKEN, port=int(process.url.rpartition(":")[2]))


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG" if image.mode in {"RGBA", "P", "I;16"} else "JPEG")
    return out.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 900), (2000, 40)])
def test_any_photo_can_be_drawn(mode: str, size: tuple[int, int]) -> None:
    for style in range(len(drawing.STYLES)):
        drawn = Image.open(io.BytesIO(drawing.draw(encoded(Image.new(mode, size)), style, 0, "webp")))
        assert max(drawn.size) == min(drawing.EDGE, max(size))


def test_sample_is_a_jpeg() -> None:
    image = Image.open(io.BytesIO(sample.photo()))
    assert (image.format, image.size) == ("JPEG", (1024, 768))


def test_account_and_models_are_described(process: StandIn, http: httpx.Client) -> None:
    assert Client(TOKEN, base_url=process.url).accounts.current().type == "user"
    statuses = {
        KONTEXT: 200,
        f"{KONTEXT}/versions/{'a' * 64}": 200,
        f"{KONTEXT}/versions/none": 404,
        "nobody/nothing": 404,
    }
    for name, status in statuses.items():
        assert http.get(f"/v1/models/{name}").status_code == status, name

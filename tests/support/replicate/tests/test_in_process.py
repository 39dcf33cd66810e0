"""The stand-in in this process answers as the core does, whatever a test changes."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from tests.support.clock import Clock
from tests.support.fake_replicate import FakeReplicate
from tests.support.function_environment import SECRET, TOKEN
from tests.support.replicate import schema

MODEL = "black-forest-labs/flux-kontext-pro"
CREATE = {
    "version": MODEL,
    "input": {"prompt": "a", "input_image": "https://bucket.example/photo.jpg"},
    "webhook": "https://api.example.com/hook?job_id=j",
    "webhook_events_filter": ["completed"],
}


@pytest.fixture
def replicate() -> FakeReplicate:
    return FakeReplicate(Clock())


def send(
    replicate: FakeReplicate, method: str, path: str, body: object = None, token: str = TOKEN
) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "cancel-after": "60s"}
    url = f"https://api.replicate.com/v1/{path}"
    return replicate.handle(httpx.Request(method, url, json=body, headers=headers))


def read(answer: httpx.Response) -> schema.Prediction:
    return schema.Prediction.model_validate_json(answer.content)


def test_answers_match_the_schema(replicate: FakeReplicate) -> None:
    made = [read(send(replicate, "POST", "predictions", CREATE)) for _ in range(3)]
    assert [one.id for one in made] == ["p0", "p1", "p2"]
    replicate.finish("p0")
    assert read(send(replicate, "POST", "predictions/p1/cancel")).status == "canceled"
    assert str(read(send(replicate, "GET", "predictions/p0")).output).endswith("/p0/out.png")
    page = schema.Page.model_validate_json(send(replicate, "GET", "predictions").content)
    assert [row.status for row in page.results] == ["starting", "canceled", "succeeded"]
    assert send(replicate, "GET", "webhooks/default/secret").json() == {"key": SECRET}


def test_clock_of_the_test_ends_predictions(replicate: FakeReplicate) -> None:
    send(replicate, "POST", "predictions", CREATE)
    replicate.clock.advance(60)
    assert replicate.predictions["p0"]["status"] == "aborted"
    replicate.clock.advance(3600)
    assert read(send(replicate, "GET", "predictions/p0")).data_removed


def test_replicates_clock_may_differ(replicate: FakeReplicate) -> None:
    replicate.ahead = timedelta(seconds=-5)
    made = read(send(replicate, "POST", "predictions", CREATE))
    assert made.created_at == replicate.clock.time - timedelta(seconds=5)


def test_request_that_replicate_refuses_is_refused(replicate: FakeReplicate) -> None:
    assert send(replicate, "POST", "predictions", CREATE, token="other").status_code == 401
    assert send(replicate, "POST", "predictions", {**CREATE, "idempotency_key": "1"}).status_code == 422
    assert send(replicate, "GET", "predictions/p0").status_code == 404
    assert replicate.predictions == {}


def test_changed_fields_replace_the_true_ones(replicate: FakeReplicate) -> None:
    send(replicate, "POST", "predictions", CREATE)
    replicate.finish("p0", status="odd", output=[7])
    replicate.change("p0", webhook="x")
    found = send(replicate, "GET", "predictions/p0").json()
    assert (found["status"], found["output"], "webhook" in found) == ("odd", [7], False)
    replicate.account.echoes = True
    assert send(replicate, "GET", "predictions/p0").json()["webhook"] == "x"
    replicate.forget("p0")
    assert send(replicate, "GET", "predictions/p0").status_code == 404

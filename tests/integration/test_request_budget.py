"""The requests of one job when nothing fails: at most the number in prices.toml."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

import announce
import api
import generate
import watchdog
import webhook
from tests.benchmarks import _prices
from tests.support.events import api_event, s3_notification, sqs_event, webhook_for
from tests.support.fake_replicate import streamed
from tests.support.photos import JPEG, picture
from tests.support.world import World
from triptych import settings

NEW = "the process is new"
PREPARED = "the photo had to be prepared"


class Count:
    """Counts the requests through boto3, by service and operation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: Counter[str] = Counter()
        self._call: Any = vars(BaseClient)["_make_api_call"]
        count = self

        def counted(client: Any, operation: str, parameters: Any) -> Any:
            name = f"{client.meta.service_model.service_id} {operation}"
            if parameters.get("Key", "") and str(parameters["Key"]).startswith("prepared/"):
                name += " of a prepared photo"
            if parameters.get("Key", "") and str(parameters["Key"]).startswith("previews/"):
                name += " of a preview"
            count.made[name] += 1
            return count._call(client, operation, parameters)

        monkeypatch.setattr(BaseClient, "_make_api_call", counted)

    def all(self, world: World) -> dict[str, int]:
        for request in world.replicate.requests:
            if request.url.host == "api.replicate.com":
                self.made[f"Replicate {request.method}"] += 1
        return dict(+self.made)


@pytest.mark.parametrize(
    ("photo", "where", "limit"),
    [(JPEG, [NEW], 200), (picture(size=(1024, 768)), [NEW, PREPARED], 200), (JPEG, [NEW], 0)],
    ids=["unchanged photo", "prepared photo", "no limits"],
)
def test_job_stays_within_the_request_budget(
    world: World,
    context: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    photo: bytes,
    where: list[str],
    limit: int,
) -> None:
    monkeypatch.setenv("DAILY_PICTURES_PER_OWNER", str(limit))
    monkeypatch.setenv("MAX_ACTIVE_JOBS_PER_OWNER", str(limit))
    settings.settings.cache_clear()
    request = {"content_type": "image/jpeg", "content_length": len(photo)}
    world.replicate.on_download = lambda _: streamed(picture("PNG"))
    count = Count(monkeypatch)
    job_id = json.loads(str(api.handler(api_event("POST", "/api/v1/jobs", request), context)["body"]))[
        "job_id"
    ]
    world.upload(job_id, photo)
    count.made.subtract(["S3 PutObject"])  # the client's upload
    generate.handler(sqs_event(s3_notification(job_id)), context)
    for prediction_id in ("p0", "p1", "p2"):
        webhook.handler(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
    born_at = world.job(job_id).created_at.isoformat()
    item = world.item(job_id)
    count.made.subtract(["DynamoDB GetItem"] * 2)  # the test's reads
    watchdog.handler(sqs_event({"job_id": job_id, "born_at": born_at}), context)
    record = {"eventSource": "aws:dynamodb", "dynamodb": {"NewImage": item, "SequenceNumber": "1"}}
    announce.handler({"Records": [record]}, context)
    allowed = _prices.budget(*where, by="functions")
    assert _prices.overruns(count.all(world), allowed) == []


@pytest.mark.parametrize(
    ("path", "requests"),
    [
        ("/api/v1/jobs/{job_id}", {"DynamoDB GetItem": 1}),
        ("/api/v1/jobs?limit=2", {"DynamoDB Query": 1}),
    ],
)
def test_reading_a_job_or_a_page_is_one_request(
    world: World,
    context: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    requests: dict[str, int],
) -> None:
    """The function signs the URLs itself, so they cost no request."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    for prediction_id in ("p0", "p1", "p2"):
        webhook.handler(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
    world.new_job()
    world.new_job()
    count = Count(monkeypatch)
    answer = api.handler(api_event("GET", path.format(job_id=job_id)), context)
    assert answer["statusCode"] == 200, answer
    assert dict(count.made) == requests


def test_extra_request_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Count(monkeypatch)
    boto3.client("dynamodb").scan(TableName="jobs")
    assert _prices.overruns(count.all(world), {"S3 GetObject": 1}) == [
        "DynamoDB Scan: 1, but 0 in prices.toml: no job needs it",
        "S3 GetObject: 0, but 1 in prices.toml: generate inspects the photo before it pays for a prediction.",
    ]

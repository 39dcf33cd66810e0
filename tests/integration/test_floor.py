"""What one job costs in requests when nothing fails: no more than the flow needs."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.client import BaseClient

import api
import generate
import watchdog
import webhook
from tests.integration.world import JPEG, World, api_event, s3_notification, sqs_event, webhook_for

FLOOR = {
    "DynamoDB PutItem": 6,  # created; all intentions in one; all prediction ids in one; three stored
    "DynamoDB GetItem": 5,  # generate, three webhooks, watchdog
    "S3 GetObject": 1,  # to look at the photo
    "S3 PutObject": 3,
    "SQS SendMessage": 1,  # the watchdog's; S3 sends the other
    "SSM GetParameter": 1,  # once for each process and five minutes
    "Replicate POST": 3,
    "Replicate GET": 1,  # the signing secret, once for each process
}


def test_a_job_makes_no_more_requests_than_the_flow_needs(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Counter[str] = Counter()
    call: Any = vars(BaseClient)["_make_api_call"]

    def counted(client: Any, operation: str, parameters: Any) -> Any:
        made[f"{client.meta.service_model.service_id} {operation}"] += 1
        return call(client, operation, parameters)

    order = {"content_type": "image/jpeg", "content_length": len(JPEG)}
    monkeypatch.setattr(BaseClient, "_make_api_call", counted)
    job_id = json.loads(str(api.handler(api_event("POST", "/api/v1/jobs", order), context)["body"]))["job_id"]
    made.subtract(["S3 PutObject"])  # the client's own
    world.upload(job_id)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    for prediction_id in ("p0", "p1", "p2"):
        webhook.handler(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
    born_at = world.job(job_id).created_at.isoformat()
    made.subtract(["DynamoDB GetItem"])  # the test's own
    watchdog.handler(sqs_event({"job_id": job_id, "born_at": born_at}), context)
    for request in world.replicate.requests:
        if request.url.host == "api.replicate.com":
            made[f"Replicate {request.method}"] += 1
    assert dict(made) == FLOOR

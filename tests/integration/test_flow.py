"""A photo's way through the handlers, each called as Lambda calls it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import api
import generate
import webhook
from tests.support.events import api_event, s3_notification, sqs_event, webhook_for
from tests.support.function_environment import TOKEN, WEBHOOK_URL
from tests.support.photos import JPEG, PNG
from tests.support.world import World


def test_photo_becomes_three_images(world: World, context: SimpleNamespace) -> None:
    request = {"content_type": "image/jpeg", "content_length": len(JPEG)}
    created = api.handler(api_event("POST", "/api/v1/jobs", request), context)
    assert created["statusCode"] == 201, created
    job = json.loads(created["body"])
    job_id = job["job_id"]
    world.upload(job_id)
    assert generate.handler(sqs_event(s3_notification(job_id)), context) == {"batchItemFailures": []}
    assert len(world.replicate.creates) == 3
    for prediction_id in list(world.replicate.predictions):
        done = world.replicate.finish(prediction_id)
        assert done["webhook"].startswith(WEBHOOK_URL + "?")
        assert webhook.handler(webhook_for(done, world.clock), context)["statusCode"] == 200
    seen = api.handler(api_event("GET", f"/api/v1/jobs/{job_id}"), context)
    view = json.loads(seen["body"])
    assert view["status"] == "SUCCEEDED", view
    assert len({image["seed"] for image in view["images"]}) == 3
    for image in view["images"]:
        assert image["content_type"] == "image/png"
        stored = world.s3.get_object(Bucket="photos", Key=f"outputs/{job_id}/{image['index']}.png")
        assert stored["Body"].read() == PNG
    assert view["created_at"].endswith("+09:00")
    assert TOKEN not in json.dumps(view)

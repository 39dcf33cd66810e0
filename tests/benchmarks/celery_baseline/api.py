"""The baseline's web service: it queues the task and receives Replicate's webhooks.

uvicorn tests.benchmarks.celery_baseline.api:app
"""

from __future__ import annotations

import json
import logging
import os
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from replicate.client import Client
from replicate.webhook import Webhooks, WebhookSigningSecret

from tests.benchmarks.celery_baseline.database import Image, Job, Session
from tests.benchmarks.celery_baseline.storage import save
from tests.benchmarks.celery_baseline.tasks import generate_ai_images

app = FastAPI()
logger = logging.getLogger(__name__)
downloads = httpx.Client(timeout=30)
secret: WebhookSigningSecret = Client(base_url=os.environ["REPLICATE_BASE_URL"]).webhooks.default.secret()


@app.post("/uploads/{job_id}", status_code=202)
def upload_done(job_id: str) -> dict[str, str]:
    """Queue the task of a job whose photo is uploaded."""
    with Session() as session:
        job = session.get(Job, job_id)
        if job is None:
            raise HTTPException(404)
        key = job.original_s3_key
    generate_ai_images.delay(job_id, key)
    return {"job_id": job_id}


async def signed_body(request: Request) -> dict[str, Any]:
    """Return the body of a webhook if its signature is valid."""
    body = await request.body()
    try:
        Webhooks.validate(headers=dict(request.headers), body=body.decode(), secret=secret)
    except ValueError as error:  # the base of InvalidSignatureError
        raise HTTPException(401) from error
    return dict(json.loads(body))


@app.post("/api/v1/webhooks/replicate")
def replicate_webhook(prediction: Annotated[dict[str, Any], Depends(signed_body)]) -> dict[str, str]:
    """Save the output of a prediction that has ended."""
    with Session() as session:
        image = session.get(Image, prediction["id"])
        if image is None:
            raise HTTPException(404)  # the task has not stored it yet; Replicate delivers again
        job_id = image.job_id
    key = None
    if prediction["status"] == "succeeded":
        output = prediction["output"]
        url = output[0] if isinstance(output, list) else output
        response = downloads.get(url).raise_for_status()
        key = f"outputs/{job_id}/{prediction['id']}.png"
        save(key, response.content, response.headers["content-type"])
    with Session() as session:
        image = session.get_one(Image, prediction["id"])
        image.status, image.s3_key = ("COMPLETED" if key else "FAILED"), key
        job = session.get_one(Job, job_id)
        states = {one.status for one in job.images}
        if "PROCESSING" not in states:
            job.status = "COMPLETED" if states == {"COMPLETED"} else "FAILED"
        session.commit()
    logger.info("[%s] %s %s", job_id, prediction["id"], prediction["status"])
    return {"status": "ok"}

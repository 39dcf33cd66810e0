"""The Celery task that Triptych replaces. Celery has its default settings, except the broker's URL.

celery -A tests.benchmarks.celery_baseline.tasks worker --concurrency 2
"""

from __future__ import annotations

import os
import random

from celery import Celery
from celery.utils.log import get_task_logger
from replicate.client import Client

from tests.benchmarks.celery_baseline.database import Image, Job, Session
from tests.benchmarks.celery_baseline.storage import presign

MODEL = "black-forest-labs/flux-kontext-pro"
PROMPT = "Redraw this photo as a painting. Keep the people, the composition and the light as they are."

app = Celery("ai", broker=os.environ["CELERY_BROKER_URL"])
app.conf.timezone = "Asia/Seoul"
logger = get_task_logger(__name__)
replicate = Client(base_url=os.environ["REPLICATE_BASE_URL"])


@app.task
def generate_ai_images(job_id: str, original_s3_key: str) -> None:
    logger.info("[%s] start", job_id)
    with Session() as session:
        job = session.get(Job, job_id)
        if job is None:
            logger.error("[%s] no such job", job_id)
            return
        job.status = "PROCESSING"
        session.commit()
    try:
        image_url = presign(original_s3_key)
        webhook_url = f"{os.environ['API_BASE_URL']}/api/v1/webhooks/replicate"
        predictions = request_images(image_url, webhook_url)
        with Session() as session:
            session.add_all(Image(job_id=job_id, **prediction) for prediction in predictions)
            session.commit()
    except Exception as error:
        logger.exception("[%s] failed", job_id)
        with Session() as session:
            job = session.get_one(Job, job_id)
            job.status, job.error = "FAILED", str(error)
            session.commit()
        return
    logger.info("[%s] end", job_id)


def request_images(image_url: str, webhook_url: str) -> list[dict[str, object]]:
    """Request three predictions, one after the other, each with its own seed."""
    predictions: list[dict[str, object]] = []
    for _ in range(3):
        seed = random.randrange(2**31)
        prediction = replicate.predictions.create(
            model=MODEL,
            input={"input_image": image_url, "prompt": PROMPT, "seed": seed},
            webhook=webhook_url,
            webhook_events_filter=["completed"],
        )
        predictions.append({"prediction_id": prediction.id, "seed": seed})
    return predictions

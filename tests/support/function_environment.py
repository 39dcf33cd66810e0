"""The environment of a function; `forget_caches` makes the layer read it again."""

from __future__ import annotations

import base64

from triptych import settings
from triptych.aws import bucket, durations, event_bus, parameters, queues, table
from triptych.replicate import webhooks

BUCKET = "photos"
TOKEN = "r8_a_token_that_must_never_be_seen"
SECRET = "whsec_" + base64.b64encode(b"a signing secret").decode()
WEBHOOK_URL = "https://api.example.com/api/v1/webhooks/replicate"

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "ap-northeast-2",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "TABLE": "jobs",
    "BUCKET": BUCKET,
    "IMAGE_COUNT": "3",
    "UPLOAD_URL_SECONDS": "900",
    "DOWNLOAD_URL_SECONDS": "900",
    "WATCHDOG_DELAY_SECONDS": "300",
    "GENERATION_DEADLINE_SECONDS": "1800",
    "MAX_UPLOAD_BYTES": "1000000",
    "MAX_PHOTO_PIXELS": "1000000",
    "MAX_PHOTO_EDGE": "512",
    "MAX_OUTPUT_BYTES": "1000000",
    "ALLOWED_OUTPUT_HOSTS": "replicate.delivery",
    "REPLICATE_DELIVERY_HOSTS": "replicate.delivery",
    "RETENTION_DAYS": "30",
    "DAILY_PICTURES_PER_OWNER": "0",
    "DAILY_PICTURES": "0",
    "MAX_ACTIVE_JOBS_PER_OWNER": "0",
    "WAITING_CLIENTS": "2",
    "PICTURE_COST_DOLLARS": "0.04",
    "TIMEZONE": "Asia/Seoul",
    "DEFAULT_PROMPT": "Paint it.",
    "REPLICATE_MODEL": "black-forest-labs/flux-kontext-pro",
    "REPLICATE_INPUT_MAPPING": "",
    "REPLICATE_TOKEN_PARAMETER": "/triptych/replicate-token",
    "REPLICATE_BASE_URL": "https://api.replicate.com",
    "WEBHOOK_URL": WEBHOOK_URL,
    "STACK_NAME": "triptych",
    "POWERTOOLS_SERVICE_NAME": "test",
}


def forget_caches() -> None:
    settings.settings.cache_clear()
    bucket._s3.cache_clear()
    bucket._bucket_url.cache_clear()
    queues._sqs.cache_clear()
    queues._impatient_sqs.cache_clear()
    parameters.provider.cache_clear()
    event_bus._events.cache_clear()
    durations._process.cache_clear()
    webhooks._kept.secret = None
    webhooks._kept.asked_at = webhooks._NEVER
    webhooks._kept.failures.number = webhooks._unread.number = 0
    table._Job._connection = None
    table._Gone._connection = None

"""One handler at a time, on moto in this process, and a Replicate that is a function."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pillow_heif
from PIL import Image

from triptych import settings
from triptych.aws import bucket, events, queues, table
from triptych.flows import create
from triptych.job import Job
from triptych.replicate import transport, webhooks

pillow_heif.register_heif_opener()

BUCKET = "photos"
TOKEN = "r8_a_token_that_must_never_be_seen"
SECRET = "whsec_" + base64.b64encode(b"a signing secret").decode()
WEBHOOK_URL = "https://api.example.com/api/v1/webhooks/replicate"
PNG = b"\x89PNG\r\n\x1a\n" + b"a picture" * 10 + b"IEND\xaeB`\x82"

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
    "DAILY_JOB_LIMIT": "0",
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


def picture(kind: str = "JPEG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """A photo, of `size` pixels, as Pillow writes it."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, kind, **options)
    return file.getvalue()


JPEG = picture()


def forget_caches() -> None:
    settings.settings.cache_clear()
    bucket._s3.cache_clear()
    queues._sqs.cache_clear()
    transport._ssm.cache_clear()
    events._events.cache_clear()
    webhooks._kept.secret = None
    webhooks._kept.asked_at = webhooks._NEVER
    table._Job._connection = None
    table._Gone._connection = None


@dataclass
class Clock:
    """The time, as the code under test sees it."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def streamed(content: bytes, status: int = 200, **headers: str) -> httpx.Response:
    """An answer that is read from the wire, as a download is."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=named)


@dataclass
class FakeReplicate:
    """Replicate's API and its delivery host, in a few lines; `answer` can be replaced to misbehave."""

    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    before_create: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    after_create: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    on_read: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    on_download: Callable[[httpx.Request], httpx.Response] = lambda _: streamed(PNG)
    secret: str = SECRET
    echoes: bool = False  # answers hold `webhook`, which Replicate's schema does not promise

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        if request.url.host != "api.replicate.com":
            return self.on_download(request)
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        if request.method == "POST" and path.endswith("/cancel"):
            found = self.predictions[path.split("/")[-2]]
            found["status"] = "canceled"
            return httpx.Response(200, json=self._shown(found))
        if request.method == "POST":
            return self.before_create(request) or self._created(request)
        if path == "/v1/webhooks/default/secret":
            return self.on_read(request) or httpx.Response(200, json={"key": self.secret})
        if path == "/v1/predictions":
            rows = [self._shown(one) for one in reversed(self.predictions.values())]
            return self.on_read(request) or httpx.Response(
                200, json={"next": None, "previous": None, "results": rows}
            )
        return self.on_read(request) or self._known(path.split("/")[-1])

    def _created(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        prediction = {
            "id": f"p{len(self.predictions)}",
            "model": "black-forest-labs/flux-kontext-pro",
            "version": "hidden",
            "status": "starting",
            "input": body["input"],
            "output": None,
            "error": None,
            "webhook": body["webhook"],
            "created_at": "2026-11-24T12:00:00.123456789Z",
            "cancel_after": request.headers["cancel-after"],
        }
        self.predictions[prediction["id"]] = prediction
        return self.after_create(request) or httpx.Response(201, json=self._shown(prediction))

    def _shown(self, prediction: dict[str, Any]) -> dict[str, Any]:
        return prediction if self.echoes else promised(prediction)

    def _known(self, prediction_id: str) -> httpx.Response:
        found = self.predictions.get(prediction_id)
        if found is None:
            return httpx.Response(404, json={"detail": "Not found."})
        return httpx.Response(200, json=self._shown(found))

    @property
    def creates(self) -> list[httpx.Request]:
        return [r for r in self.requests if r.method == "POST" and not r.url.path.endswith("/cancel")]

    def finish(self, prediction_id: str, **changes: object) -> dict[str, Any]:
        """The prediction ends, well unless told otherwise; `webhook_for` makes its webhook."""
        done = {"status": "succeeded", "output": f"https://replicate.delivery/{prediction_id}/out.png"}
        self.predictions[prediction_id].update({**done, **changes})
        return self.predictions[prediction_id]


@dataclass
class World:
    clock: Clock
    replicate: FakeReplicate
    s3: Any
    sqs: Any
    queues: dict[str, str]

    def upload(self, job_id: str, photo: bytes = JPEG) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=f"uploads/{job_id}/photo.jpg", Body=photo)

    def object_keys(self, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]

    def messages(self, queue: str) -> list[str]:
        """The bodies of the messages that lie in a queue now; they are gone from it afterwards."""
        url = self.queues[queue]
        found = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in found]

    def job(self, job_id: str) -> Job:
        """The job as it is stored."""
        found = table.get(job_id)
        assert found
        return found

    def item(self, job_id: str) -> dict[str, Any]:
        """What lies in the table under that id, as it lies there."""
        found = boto3.client("dynamodb").get_item(TableName="jobs", Key={"job_id": {"S": job_id}})
        return dict(found.get("Item", {}))

    def new_job(self, *, owner: str = "ann", photo: bytes | None = JPEG) -> str:
        """A job that waits for its photo, or whose photo is there."""
        order = create.Order(owner, "image/jpeg", len(JPEG), None, None)
        job_id = create.create_job(order, None).job_id
        if photo is not None:
            self.upload(job_id, photo)
        return job_id


def signed(body: bytes, clock: Clock, *, secret: str = SECRET, webhook_id: str = "msg_1") -> dict[str, str]:
    """The headers that Replicate would send with `body`."""
    timestamp = str(int(clock.time.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
        "content-type": "application/json",
    }


def webhook_event(body: bytes, headers: dict[str, str], query: str) -> dict[str, Any]:
    """What API Gateway makes of Replicate's call."""
    return {
        "version": "2.0",
        "headers": headers,
        "rawQueryString": query,
        "body": body.decode(),
        "isBase64Encoded": False,
    }


def promised(prediction: dict[str, Any]) -> dict[str, Any]:
    """The prediction as Replicate's schema promises it: without an echo of the webhook's URL."""
    return {name: value for name, value in prediction.items() if name != "webhook"}


def webhook_for(prediction: dict[str, Any], clock: Clock, *, echoes: bool = False) -> dict[str, Any]:
    body = json.dumps(prediction if echoes else promised(prediction)).encode()
    return webhook_event(body, signed(body, clock), urlsplit(prediction["webhook"]).query)


def sqs_event(body: object, *, receives: int = 1, receipt: str = "receipt") -> dict[str, Any]:
    """A batch of one, as the event source mapping hands it over."""
    record = {
        "messageId": "m1",
        "receiptHandle": receipt,
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"ApproximateReceiveCount": str(receives), "SentTimestamp": "0"},
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:ap-northeast-2:123456789012:generation",
        "awsRegion": "ap-northeast-2",
    }
    return {"Records": [record]}


def api_event(
    method: str, path: str, body: object = None, *, owner: str = "ann", **headers: str
) -> dict[str, Any]:
    """What API Gateway makes of a client's request, once it has checked the token."""
    path, _, query = path.partition("?")
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            "content-type": "application/json",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        },
        "queryStringParameters": dict(pair.split("=", 1) for pair in query.split("&")) if query else None,
        "requestContext": {
            "authorizer": {"jwt": {"claims": {"sub": owner}, "scopes": None}},
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "t",
            },
            "requestId": "1",
            "stage": "$default",
        },
        "body": body if isinstance(body, str) or body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def s3_notification(job_id: str, key: str = "uploads/{job_id}/photo.jpg") -> dict[str, Any]:
    """What S3 sends to the generation queue."""
    return {
        "Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key.format(job_id=job_id)}}}]
    }

"""The events that enter the functions, as AWS builds them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from tests.support.clock import Clock
from tests.support.fake_replicate import promised
from tests.support.function_environment import SECRET
from tests.support.replicate import webhooks

# A message that was sent then is newer than all others, so the watchdog never takes it for a copy.
NEWEST = datetime(2100, 1, 1, tzinfo=UTC)
# What Lambda gives each invocation.
CONTEXT: Any = SimpleNamespace(
    function_name="test",
    memory_limit_in_mb=128,
    invoked_function_arn="arn:aws:lambda:ap-northeast-2:123456789012:function:test",
    aws_request_id="request-1",
    get_remaining_time_in_millis=lambda: 30_000,
)


def signed(body: bytes, clock: Clock, *, secret: str = SECRET, webhook_id: str = "msg_1") -> dict[str, str]:
    """Return the headers that Replicate would send with `body`."""
    return webhooks.headers(secret, webhook_id, int(clock.time.timestamp()), body)


def webhook_event(body: bytes, headers: dict[str, str], query: str) -> dict[str, Any]:
    """Build API Gateway's event for a webhook."""
    return {
        "version": "2.0",
        "headers": headers,
        "rawQueryString": query,
        "body": body.decode(),
        "isBase64Encoded": False,
    }


def webhook_for(prediction: dict[str, Any], clock: Clock, *, echoes: bool = False) -> dict[str, Any]:
    body = json.dumps(prediction if echoes else promised(prediction)).encode()
    return webhook_event(body, signed(body, clock), urlsplit(prediction["webhook"]).query)


def sqs_event(
    body: object,
    *,
    receives: int = 1,
    receipt: str = "receipt",
    queue: str = "generation",
    sent_at: datetime = NEWEST,
    waited: float = 0.0,
) -> dict[str, Any]:
    """Build a batch of one message, as the event source mapping does. It has `waited` seconds to be received."""
    sent = int(sent_at.timestamp() * 1000)
    attributes = {
        "ApproximateReceiveCount": str(receives),
        "SentTimestamp": str(sent),
        "ApproximateFirstReceiveTimestamp": str(sent + round(waited * 1000)),
    }
    record = {
        "messageId": "m1",
        "receiptHandle": receipt,
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:ap-northeast-2:123456789012:{queue}",
        "awsRegion": "ap-northeast-2",
    }
    return {"Records": [record]}


def api_event(
    method: str, path: str, body: object = None, *, owner: str = "ann", **headers: str
) -> dict[str, Any]:
    """Build API Gateway's event for a client's request with a valid token."""
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
    """Build the notification that S3 sends to the generation queue."""
    return {
        "Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key.format(job_id=job_id)}}}]
    }


def stream_event(*images: object) -> dict[str, Any]:
    """Build a batch of the jobs table's stream with these new images."""
    return {
        "Records": [
            {
                "eventID": f"e{number}",
                "eventName": "MODIFY",
                "eventSource": "aws:dynamodb",
                "dynamodb": {"NewImage": image, "SequenceNumber": str(number)},
            }
            for number, image in enumerate(images)
        ]
    }

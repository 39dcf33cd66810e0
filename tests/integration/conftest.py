from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import boto3
import httpx
import pytest
from moto import mock_aws

from tests.support.clock import Clock
from tests.support.fake_replicate import FakeReplicate
from tests.support.function_environment import BUCKET, ENVIRONMENT, TOKEN, forget_caches
from tests.support.world import World
from triptych.replicate import downloads, transport
from triptych.runtime import clock


@pytest.fixture
def context() -> SimpleNamespace:
    return SimpleNamespace(
        function_name="test",
        memory_limit_in_mb=128,
        invoked_function_arn="arn:aws:lambda:ap-northeast-2:123456789012:function:test",
        aws_request_id="request-1",
        get_remaining_time_in_millis=lambda: 30_000,
    )


def resolve(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """What the name server says: of every name the same, if it is one."""
    host.encode("idna")
    return [(2, 1, 6, "", ("104.16.1.1", 443))]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
        sqs = boto3.client("sqs")
        urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("generation", "watchdog")}
        monkeypatch.setenv("GENERATION_QUEUE_URL", urls["generation"])
        monkeypatch.setenv("WATCHDOG_QUEUE_URL", urls["watchdog"])
        boto3.client("ssm").put_parameter(Name="/triptych/replicate-token", Value=TOKEN, Type="SecureString")
        boto3.client("dynamodb").create_table(
            TableName="jobs",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for name in ("job_id", "owner", "created_at")
            ],
            KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-owner",
                    "KeySchema": [
                        {"AttributeName": "owner", "KeyType": "HASH"},
                        {"AttributeName": "created_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        forget_caches()
        fake_clock, replicate = Clock(), FakeReplicate()
        monkeypatch.setattr(clock, "now", fake_clock.now)
        monkeypatch.setattr(transport, "_transport", lambda: httpx.MockTransport(replicate.handle))
        client = httpx.Client(transport=httpx.MockTransport(replicate.handle))
        monkeypatch.setattr(downloads, "_client", lambda: client)
        monkeypatch.setattr("socket.getaddrinfo", resolve)
        yield World(fake_clock, replicate, s3, sqs, urls)
        forget_caches()

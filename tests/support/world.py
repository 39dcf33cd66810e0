"""AWS on moto in this process, with a clock and a Replicate that a test controls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response

from tests.support.clock import Clock
from tests.support.fake_replicate import FakeReplicate
from tests.support.function_environment import BUCKET, ENVIRONMENT, TOKEN, forget_caches
from tests.support.moto_copies import copy_object
from tests.support.photos import JPEG
from triptych.aws import table
from triptych.flows import create_job
from triptych.job import Job, JobRequest
from triptych.replicate import downloads, transport
from triptych.runtime import clock


@dataclass
class World:
    clock: Clock
    replicate: FakeReplicate
    s3: Any
    sqs: Any
    queues: dict[str, str]

    def upload(self, job_id: str, photo: bytes = JPEG) -> None:
        """Upload a photo at the time of the clock. moto stores its own time, which is later on a slow machine."""
        key = f"uploads/{job_id}/photo.jpg"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=photo)
        stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(BUCKET, key)
        assert stored
        stored.last_modified = self.clock.time

    def expire(self, job_id: str) -> None:
        """Remove the job's item, as DynamoDB does when its time has come."""
        boto3.client("dynamodb").delete_item(TableName="jobs", Key={"job_id": {"S": job_id}})

    def object_keys(self, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]

    def messages(self, queue: str) -> list[str]:
        """Receive and delete the messages of a queue; return their bodies."""
        url = self.queues[queue]
        found = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in found]

    def job(self, job_id: str) -> Job:
        """Return the stored job."""
        found = table.get(job_id)
        assert found
        return found

    def item(self, job_id: str) -> dict[str, Any]:
        """Return the raw item of the job, or an empty map."""
        found = boto3.client("dynamodb").get_item(TableName="jobs", Key={"job_id": {"S": job_id}})
        return dict(found.get("Item", {}))

    def new_job(self, *, owner: str = "ann", photo: bytes | None = JPEG) -> str:
        """Create a job and, unless `photo` is None, upload its photo; return its id."""
        request = JobRequest(content_type="image/jpeg", size=len(JPEG))
        job_id = create_job.create_job(owner, request, None).job_id
        if photo is not None:
            self.upload(job_id, photo)
        return job_id


def _resolve(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """Resolve every valid name to the same public address."""
    host.encode("idna")
    return [(2, 1, 6, "", ("104.16.1.1", 443))]


@contextmanager
def world_on_moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Give the layer in this process an AWS on moto and a FakeReplicate until the context ends."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(S3Response, "copy_object", copy_object)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
        sqs = boto3.client("sqs")
        urls = {
            name: sqs.create_queue(QueueName=name)["QueueUrl"]
            for name in ("generation", "waiting", "watchdog")
        }
        monkeypatch.setenv("GENERATION_QUEUE_URL", urls["generation"])
        monkeypatch.setenv("WAITING_QUEUE_URL", urls["waiting"])
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
        fake_clock = Clock()
        replicate = FakeReplicate(fake_clock)
        monkeypatch.setattr(clock, "now", fake_clock.now)
        monkeypatch.setattr(clock, "sleep", fake_clock.sleep)
        monkeypatch.setattr(transport, "http_transport", lambda: httpx.MockTransport(replicate.handle))
        client = httpx.Client(transport=httpx.MockTransport(replicate.handle))
        monkeypatch.setattr(downloads, "http_client", lambda: client)
        monkeypatch.setattr("socket.getaddrinfo", _resolve)
        yield World(fake_clock, replicate, s3, sqs, urls)
        forget_caches()

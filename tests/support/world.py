"""One handler at a time, on moto in this process, and a Replicate that is a function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boto3

from tests.support.clock import Clock
from tests.support.fake_replicate import FakeReplicate
from tests.support.function_environment import BUCKET
from tests.support.photos import JPEG
from triptych.aws import table
from triptych.flows import create
from triptych.job import Job


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

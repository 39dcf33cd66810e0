"""Replay the dead letters of `announce`.

Lambda puts a batch that `announce` cannot handle whole into a bucket. A message in a queue names each object
(https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html). The objects are given to the function again.
An object is deleted when every end in it is announced, and its message then, too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AliasPath, BaseModel, Field, Json, ValidationError

from tests.deployed.stack import Stack, connect

OPEN = {"AWAITING_UPLOAD", "GENERATING"}
FOLDER = "aws/lambda/"
LEASE_SECONDS = 120  # a message that is read is hidden for so long

type Record = dict[str, Any]  # of a stream, as Lambda gives it to a function


class _Event(BaseModel):
    records: list[Record] = Field(alias="Records")


class DeadLetter(BaseModel):
    """An object of the bucket: a failed batch."""

    event: Annotated[Json[_Event] | _Event, Field(alias="payload")]  # documented as text, with JSON in it


class Notice(BaseModel):
    """A message of the queue: the event of a new object."""

    key: str = Field(validation_alias=AliasPath("detail", "object", "key"))


@dataclass
class Replay:
    """The replay of one stack's dead letters. `say` writes a line for people."""

    stack: Stack
    announced: int = 0
    kept: set[str] = field(default_factory=set)  # keys of the objects, and ids of the messages, that stay

    def run(self) -> None:
        s3 = self.stack.client("s3")
        for key in self._keys():
            body = s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            if self._replay(key, body):
                s3.delete_object(Bucket=self._bucket, Key=key)
            else:
                self.kept.add(key)
        self._delete_notices()

    @property
    def _bucket(self) -> str:
        return self.stack.resources["AnnounceDeadLetterBucket"].name

    def _keys(self, prefix: str = FOLDER) -> Iterator[str]:
        """Yield the keys of all objects, the oldest of a shard first."""
        pages = self.stack.client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            yield from (one["Key"] for one in page.get("Contents", []))

    def _replay(self, key: str, body: bytes) -> bool:
        try:
            letter = DeadLetter.model_validate_json(body)
        except ValidationError:
            say(f"{key}: this is not a failed batch. It stays in the bucket.")
            return False
        ends = [record for record in letter.event.records if _ends_a_job(record)]
        failed = [record for record in ends if not self._announce(record)]
        self.announced += len(ends) - len(failed)
        for record in ends:
            job_id = record["dynamodb"]["Keys"]["job_id"]["S"]
            say(f"{key}: job {job_id} {'was not announced' if record in failed else 'is announced'}")
        return not failed

    def _announce(self, record: Record) -> bool:
        """Give the record to `announce`; return whether it is announced.

        It goes alone. Ten slow records could take longer than boto3 waits, and boto3 would then give all of them again.
        """
        answer = self.stack.client("lambda").invoke(
            FunctionName=self.stack.resources["AnnounceFunction"].name,
            Payload=json.dumps({"Records": [record]}).encode(),
        )
        return not (answer.get("FunctionError") or json.loads(answer["Payload"].read())["batchItemFailures"])

    def _delete_notices(self) -> None:
        """Delete the messages of objects that are gone. The others stay, and the alarm with them.

        A failed batch may come meanwhile, so each object is looked for after its message was read.
        """
        sqs, queue = self.stack.client("sqs"), self.stack.outputs["AnnounceDeadLetterQueueUrl"]
        while found := sqs.receive_message(
            QueueUrl=queue, VisibilityTimeout=LEASE_SECONDS, WaitTimeSeconds=1, MaxNumberOfMessages=10
        ).get("Messages"):
            for message in found:
                try:
                    key = Notice.model_validate_json(message["Body"]).key
                except ValidationError:
                    say(
                        f"{message['MessageId']}: this message tells of no failed batch. It stays in the queue."
                    )
                    self.kept.add(message["MessageId"])
                    continue
                if key not in self._keys(key):
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def _ends_a_job(record: Record) -> bool:
    """Return whether the write ended a job or deleted one before its end, as the filters in template.yaml ask."""
    before, after = (_status(record, image) for image in ("OldImage", "NewImage"))
    return before in OPEN and after not in OPEN


def _status(record: Record, image: Literal["OldImage", "NewImage"]) -> str | None:
    found = record["dynamodb"].get(image, {}).get("status", {}).get("S")
    return str(found) if found else None


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.replay", description=__doc__)
    parser.add_argument("--stack", required=True, metavar="NAME")
    parser.add_argument("--region", metavar="REGION", help="AWS_REGION by default")
    given = parser.parse_args(arguments)
    replay = Replay(connect(given.stack, given.region))
    try:
        replay.run()
    except (BotoCoreError, ClientError) as error:
        say(f"AWS refused: {error}")
        return 1
    say(f"{replay.announced} ends of jobs are announced; {len(replay.kept)} dead letters stay.")
    return 1 if replay.kept else 0

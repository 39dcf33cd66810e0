"""Replay the dead letters of `announce`.

A dead letter holds no record, only the record's place in the table's stream: the shard, and the first and the last
sequence number (https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html). Other writes lie between the
two, which the filter of `announce` would have left out. So the whole range is read, and only the ends of jobs are given to
the function. A message is deleted when every end in it was announced.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, Field, ValidationError

from tests.deployed.stack import Stack

BATCH = 10  # as in template.yaml
PAGE = 100
OPEN = {"AWAITING_UPLOAD", "GENERATING"}
LEASE_SECONDS = 120  # a message that is replayed is hidden for so long


class Place(BaseModel):
    """The place of a failed batch in the stream."""

    shard: str = Field(alias="shardId")
    first: str = Field(alias="startSequenceNumber")
    last: str = Field(alias="endSequenceNumber")
    stream: str = Field(alias="streamArn")


class Letter(BaseModel):
    """A message of the dead-letter queue."""

    place: Place = Field(alias="DDBStreamBatchInfo")


@dataclass
class Replay:
    """The replay of one stack's dead letters. `say` writes a line for people."""

    stack: Stack
    announced: int = 0
    kept: int = 0  # messages that stay in the queue

    def run(self) -> None:
        queue = self.stack.outputs["AnnounceDeadLetterQueueUrl"]
        sqs = self.stack.client("sqs")
        while True:
            found = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=LEASE_SECONDS, WaitTimeSeconds=1)
            if not found.get("Messages"):
                return
            (message,) = found["Messages"]
            if self._replay(message["MessageId"], message["Body"]):
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            else:
                self.kept += 1

    def _replay(self, name: str, body: str) -> bool:
        try:
            place = Letter.model_validate_json(body).place
        except ValidationError:
            say(f"{name}: this is not a dead letter of a stream. It stays in the queue.")
            return False
        try:
            ends = [record for record in self._records(place) if _ends_a_job(record)]
        except ClientError as error:
            if error.response["Error"]["Code"] not in {
                "TrimmedDataAccessException",
                "ResourceNotFoundException",
            }:
                raise
            say(f"{name}: the stream does not hold its records any more. It keeps them for 24 hours.")
            return False
        failed = [record for batch in _batches(ends) for record in self._announce(batch)]
        self.announced += len(ends) - len(failed)
        for record in ends:
            job_id = record["dynamodb"]["Keys"]["job_id"]["S"]
            say(f"{name}: job {job_id} {'was not announced' if record in failed else 'is announced'}")
        return not failed

    def _records(self, place: Place) -> Iterator[dict[str, Any]]:
        streams = self.stack.client("dynamodbstreams")
        iterator = streams.get_shard_iterator(
            StreamArn=place.stream,
            ShardId=place.shard,
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=place.first,
        )["ShardIterator"]
        while iterator:
            page = streams.get_records(ShardIterator=iterator, Limit=PAGE)
            for record in page["Records"]:
                if int(record["dynamodb"]["SequenceNumber"]) > int(place.last):
                    return
                yield record
                if record["dynamodb"]["SequenceNumber"] == place.last:
                    return
            iterator = page.get("NextShardIterator")

    def _announce(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give the records to `announce`; return those that it could not announce."""
        answer = self.stack.client("lambda").invoke(
            FunctionName=self.stack.resources["AnnounceFunction"].name,
            Payload=json.dumps({"Records": records}, default=_plain).encode(),
        )
        if answer.get("FunctionError"):
            return records
        report = json.loads(answer["Payload"].read())
        failed = {one["itemIdentifier"] for one in report["batchItemFailures"]}
        return [record for record in records if record["dynamodb"]["SequenceNumber"] in failed]


def _ends_a_job(record: dict[str, Any]) -> bool:
    """Return whether the write ended a job or deleted one before its end, as the filters in template.yaml ask."""
    before, after = (_status(record, image) for image in ("OldImage", "NewImage"))
    return before in OPEN and after not in OPEN


def _status(record: dict[str, Any], image: Literal["OldImage", "NewImage"]) -> str | None:
    found = record["dynamodb"].get(image, {}).get("status", {}).get("S")
    return str(found) if found else None


def _batches(records: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(records), BATCH):
        yield records[start : start + BATCH]


def _plain(value: Any) -> float:
    return float(value.timestamp())  # a stream's event has the time in seconds


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.replay", description=__doc__)
    parser.add_argument("--stack", required=True, metavar="NAME")
    parser.add_argument("--region", metavar="REGION", help="AWS_REGION by default")
    given = parser.parse_args(arguments)
    replay = Replay(Stack(boto3.Session(region_name=given.region), given.stack))
    try:
        replay.run()
    except (BotoCoreError, ClientError) as error:
        say(f"AWS refused: {error}")
        return 1
    say(f"{replay.announced} ends of jobs are announced; {replay.kept} messages stay in the queue.")
    return 1 if replay.kept else 0

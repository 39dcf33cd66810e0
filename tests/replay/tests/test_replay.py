"""The replay of dead letters, on moto. A stand-in takes the place of the function."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.replay.replay import Replay

REGION = "ap-northeast-2"


@dataclass
class Announce:
    """The function `announce`: it notes the jobs, and fails those that a test names."""

    failing: set[str] = field(default_factory=set)
    broken: bool = False
    announced: list[str] = field(default_factory=list)
    largest: int = 0

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert FunctionName == "announce"
        if self.broken:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b"{}")}
        records = json.loads(Payload)["Records"]
        self.largest = max(self.largest, len(records))
        failed = []
        for record in records:
            job_id = record["dynamodb"]["NewImage"]["job_id"]["S"]
            if job_id in self.failing:
                failed.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
            else:
                self.announced.append(job_id)
        return {"Payload": io.BytesIO(json.dumps({"batchItemFailures": failed}).encode())}


@dataclass
class _Resource:
    name: str = "announce"


class World:
    """A stack on moto's server: a jobs table with its stream, and the dead-letter queue."""

    def __init__(self) -> None:
        self.announce = Announce()
        self.streams = boto3.client("dynamodbstreams", region_name=REGION)
        self.table = boto3.client("dynamodb", region_name=REGION)
        made = self.table.create_table(
            TableName="jobs",
            KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "job_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.stream = made["TableDescription"]["LatestStreamArn"]
        self.sqs = boto3.client("sqs", region_name=REGION)
        self.queue = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        self.resources = {"AnnounceFunction": _Resource()}
        self.outputs = {"AnnounceDeadLetterQueueUrl": self.queue}

    def client(self, service: str) -> Any:
        return {"lambda": self.announce, "sqs": self.sqs, "dynamodbstreams": self.streams}[service]

    def write(self, job_id: str, *statuses: str) -> None:
        for status in statuses:
            self.table.put_item(TableName="jobs", Item={"job_id": {"S": job_id}, "status": {"S": status}})

    def numbers(self) -> list[str]:
        """Return the sequence numbers of all records."""
        streams = self.streams
        (shard,) = streams.describe_stream(StreamArn=self.stream)["StreamDescription"]["Shards"]
        iterator = streams.get_shard_iterator(
            StreamArn=self.stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        self.shard = shard["ShardId"]
        records = streams.get_records(ShardIterator=iterator)["Records"]
        return [record["dynamodb"]["SequenceNumber"] for record in records]

    def send(self, first: str, last: str) -> None:
        place = {
            "shardId": self.shard,
            "startSequenceNumber": first,
            "endSequenceNumber": last,
            "batchSize": 2,
            "streamArn": self.stream,
        }
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps({"DDBStreamBatchInfo": place}))

    def left(self) -> int:
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["All"])["Attributes"]
        hidden = found["ApproximateNumberOfMessagesNotVisible"]
        return int(found["ApproximateNumberOfMessages"]) + int(hidden)

    def replay(self) -> Replay:
        replay = Replay(self)  # type: ignore[arg-type]  # it has what a replay uses of a stack
        replay.run()
        return replay


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()  # moto in this process takes a request for a stream for one to a table
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    yield World()
    httpx.post(f"http://{host}:{port}/moto-api/reset", trust_env=False).raise_for_status()
    server.stop()


def test_ends_among_many_other_writes_are_announced(world: World) -> None:
    world.write("first", "GENERATING", "SUCCEEDED")
    for number in range(80):
        world.write(f"other{number}", "AWAITING_UPLOAD", "GENERATING")
    world.write("second", "GENERATING", "FAILED")
    numbers = world.numbers()
    world.write("after", "GENERATING", "SUCCEEDED")
    world.send(numbers[1], numbers[-1])
    replay = world.replay()
    assert world.announce.announced == ["first", "second"]
    assert (replay.announced, replay.kept, world.left()) == (2, 0, 0)


def test_many_ends_are_announced_in_the_functions_batches(world: World) -> None:
    for number in range(23):
        world.write(f"job{number}", "GENERATING", "SUCCEEDED")
    numbers = world.numbers()
    world.send(numbers[0], numbers[-1])
    assert world.replay().announced == 23
    assert world.announce.largest == 10


@pytest.mark.parametrize("broken", [True, False], ids=["function", "one record"])
def test_letter_stays_until_every_end_is_announced(world: World, broken: bool) -> None:  # noqa: FBT001  # a pytest parameter
    world.write("good", "GENERATING", "SUCCEEDED")
    world.write("bad", "GENERATING", "SUCCEEDED")
    numbers = world.numbers()
    world.send(numbers[0], numbers[-1])
    world.announce.broken, world.announce.failing = broken, {"bad"}
    replay = world.replay()
    assert replay.announced == (0 if broken else 1)
    assert (replay.kept, world.left()) == (1, 1)


def test_other_messages_stay_in_the_queue(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.sqs.send_message(QueueUrl=world.queue, MessageBody='{"no": "place"}')
    assert world.replay().kept == 1
    assert "not a dead letter of a stream" in capsys.readouterr().out
    assert world.left() == 1

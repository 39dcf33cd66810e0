"""The replay of dead letters, on moto. A stand-in takes the place of the function."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.deployed.stack import Resource
from tests.localcloud import aws, streams
from tests.localcloud.functions import Functions, Machine, Result
from tests.localcloud.patterns import Pattern
from tests.localcloud.stack import StreamSource
from tests.replay.replay import Replay

REGION = "us-east-1"
BUCKET = "letters"


@dataclass
class Announce:
    """The function `announce`: it notes the jobs, and fails those that a test names."""

    failing: set[str] = field(default_factory=set)
    broken: bool = False
    most: int = 10  # records of one invocation; more take too long
    announced: list[str] = field(default_factory=list)

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert FunctionName == "announce"
        if self.broken or len(json.loads(Payload)["Records"]) > self.most:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b"{}")}
        failed = []
        for record in json.loads(Payload)["Records"]:
            job_id = record["dynamodb"]["NewImage"]["job_id"]["S"]
            if job_id in self.failing:
                failed.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
            else:
                self.announced.append(job_id)
        return {"Payload": io.BytesIO(json.dumps({"batchItemFailures": failed}).encode())}


class World:
    """A stack on moto's server: the bucket of dead letters, and the queue to which EventBridge sends their names."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.announce = Announce()
        self.s3 = boto3.client("s3", region_name=REGION)
        self.s3.create_bucket(Bucket=BUCKET)
        self.sqs = boto3.client("sqs", region_name=REGION)
        self.queue = self.sqs.create_queue(QueueName="letters")["QueueUrl"]
        self.s3.put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        events = boto3.client("events", region_name=REGION)
        pattern = {"source": ["aws.s3"], "detail-type": ["Object Created"]}
        events.put_rule(Name="letters", EventPattern=json.dumps(pattern))
        target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:123456789012:letters"}
        events.put_targets(Rule="letters", Targets=[target])
        self.resources = {
            "AnnounceFunction": Resource("AWS::Lambda::Function", "announce"),
            "AnnounceDeadLetterBucket": Resource("AWS::S3::Bucket", BUCKET),
        }
        self.outputs = {"AnnounceDeadLetterQueueUrl": self.queue}

    def client(self, service: str) -> Any:
        return {"lambda": self.announce, "sqs": self.sqs, "s3": self.s3}[service]

    def bury(self, name: str, *records: tuple[str, str, str], as_text: bool = True) -> None:
        """Put a failed batch: of each record the job's id, its status before, and after."""
        event = {
            "Records": [
                {
                    "dynamodb": {
                        "Keys": {"job_id": {"S": job_id}},
                        "OldImage": {"job_id": {"S": job_id}, "status": {"S": before}},
                        "NewImage": {"job_id": {"S": job_id}, "status": {"S": after}},
                        "SequenceNumber": f"{name}{number}",
                    }
                }
                for number, (job_id, before, after) in enumerate(records)
            ]
        }
        body = {"version": "1.0", "payload": json.dumps(event) if as_text else event}
        self.s3.put_object(Bucket=BUCKET, Key=f"aws/lambda/{name}", Body=json.dumps(body))

    def left(self) -> tuple[int, int]:
        """Return how many objects and messages are left."""
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["All"])["Attributes"]
        hidden = found["ApproximateNumberOfMessagesNotVisible"]
        objects = self.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"]
        return objects, int(found["ApproximateNumberOfMessages"]) + int(hidden)

    def replay(self) -> Replay:
        replay = Replay(self)  # type: ignore[arg-type]  # it has what a replay uses of a stack
        replay.run()
        return replay


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    yield World(endpoint)
    httpx.post(f"{endpoint}/moto-api/reset", trust_env=False).raise_for_status()
    server.stop()


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "object"])
def test_only_the_ends_of_jobs_are_announced(world: World, as_text: bool) -> None:  # noqa: FBT001  # a pytest parameter
    world.bury(
        "one",
        ("first", "GENERATING", "SUCCEEDED"),
        ("other", "AWAITING_UPLOAD", "GENERATING"),
        ("second", "AWAITING_UPLOAD", "EXPIRED"),
        ("again", "FAILED", "FAILED"),
        as_text=as_text,
    )
    assert world.left() == (1, 1)
    replay = world.replay()
    assert world.announce.announced == ["first", "second"]
    assert (replay.announced, replay.kept, world.left()) == (2, set(), (0, 0))


def test_every_failed_batch_is_announced(world: World) -> None:
    for number in range(1, 15):
        world.bury(f"batch{number:02}", (f"job{number}", "GENERATING", "SUCCEEDED"))
    assert world.replay().announced == 14
    assert world.announce.announced == [f"job{number}" for number in range(1, 15)]
    assert world.left() == (0, 0)


@pytest.mark.parametrize("broken", [True, False], ids=["function", "one record"])
def test_letter_stays_until_every_end_is_announced(world: World, broken: bool) -> None:  # noqa: FBT001  # a pytest parameter
    world.bury("mixed", ("good", "GENERATING", "SUCCEEDED"), ("bad", "GENERATING", "SUCCEEDED"))
    world.bury("fine", ("fine", "GENERATING", "SUCCEEDED"))
    world.announce.broken, world.announce.failing = broken, {"bad"}
    replay = world.replay()
    assert replay.announced == (0 if broken else 2)
    assert world.left() == ((2, 2) if broken else (1, 1))
    assert "aws/lambda/mixed" in replay.kept


def test_each_end_goes_to_the_function_alone(world: World) -> None:
    """Ten slow ends could take longer than boto3 waits, which would then give them again."""
    world.bury("both", ("first", "GENERATING", "SUCCEEDED"), ("second", "GENERATING", "SUCCEEDED"))
    world.announce.most = 1
    assert world.replay().announced == 2
    assert world.announce.announced == ["first", "second"]


def test_letter_without_a_message_is_announced(world: World) -> None:
    world.bury("one", ("first", "GENERATING", "SUCCEEDED"))
    world.sqs.purge_queue(QueueUrl=world.queue)
    assert world.replay().announced == 1
    assert world.left() == (0, 0)


def test_letter_that_comes_during_a_replay_keeps_its_message(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its alarm would end, and nobody would look for the object."""
    receive = world.sqs.receive_message

    def late(**given: Any) -> Any:
        if world.left() == (0, 1):
            world.bury("late", ("second", "GENERATING", "SUCCEEDED"))
        return receive(**given)

    monkeypatch.setattr(world.sqs, "receive_message", late)
    world.bury("one", ("first", "GENERATING", "SUCCEEDED"))
    assert world.replay().announced == 1
    assert world.left() == (1, 1)


def test_other_objects_and_messages_stay(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.sqs.send_message(QueueUrl=world.queue, MessageBody='{"no": "object"}')
    world.s3.put_object(Bucket=BUCKET, Key="aws/lambda/other", Body=b"{}")
    assert len(world.replay().kept) == 2
    said = capsys.readouterr().out
    assert "this is not a failed batch" in said
    assert "this message tells of no failed batch" in said
    assert world.left() == (1, 2)


def test_batch_that_the_local_cloud_gave_up_is_announced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LONGEST_BACKOFF", 0)
    table = boto3.client("dynamodb", region_name=REGION)
    made = table.create_table(
        TableName="jobs",
        KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "job_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for status in ("GENERATING", "SUCCEEDED"):
        table.put_item(TableName="jobs", Item={"job_id": {"S": "first"}, "status": {"S": status}})
    invoked = threading.Event()

    class Crashing:
        def invoke(self, name: str, payload: bytes) -> Result:
            if len(json.loads(payload)["Records"]) == 1:
                invoked.set()
            return Result(b"{}", "Unhandled")

    stream = made["TableDescription"]["LatestStreamArn"]
    pattern: Pattern = {"dynamodb": {"NewImage": {"status": {"S": ["SUCCEEDED"]}}}}
    source = StreamSource(stream, "Announce", (pattern,), 10, 0, True, True, f"arn:aws:s3:::{BUCKET}")  # noqa: FBT003  # bisects, reports failures
    machine = Machine(world.endpoint, REGION, aws.ACCOUNT, "test", "test")
    with streams.Streams([source], cast("Functions", Crashing()), {"Announce": machine}):
        assert invoked.wait(20)
        while world.left() != (1, 1):
            invoked.wait(0.05)
    world.replay()
    assert world.announce.announced == ["first"]

"""Tests of event source mappings from a table's stream to a function."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.localcloud import aws, streams
from tests.localcloud.functions import THROTTLED, Functions, Machine, Result
from tests.localcloud.patterns import Pattern
from tests.localcloud.stack import StreamSource
from tests.localcloud.streams import Streams

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PATTERN: Pattern = {"dynamodb": {"NewImage": {"status": {"S": ["DONE"]}}}}
OK = Result(b'{"batchItemFailures": []}')
THROTTLE = Result(b'{"errorType": "TooManyRequestsException"}', THROTTLED)
CRASHED = Result(b'{"errorType": "Runtime.ExitError"}', "Unhandled")


@dataclass
class Function:
    """A replacement for the functions that keeps its events and returns the result of `answer`."""

    answer: Callable[[list[str]], Result] = lambda _: OK
    batches: list[list[str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def invoke(self, name: str, payload: bytes) -> Result:
        event = json.loads(payload)
        ids = [record["dynamodb"]["Keys"]["id"]["S"] for record in event["Records"]]
        with self.changed:
            self.events.append(event)
            self.batches.append(ids)
            self.changed.notify_all()
        return self.answer(ids)

    def wait_for(self, count: int) -> list[list[str]]:
        """Wait for `count` batches and return all of them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.batches) >= count, 20), self.batches
            return self.batches


@dataclass
class Table:
    """A table with a stream on a running AWS server."""

    machine: Machine
    name: str
    stream: str
    queue: str
    dynamodb: Any
    sqs: Any

    def put(self, *ids: str, status: str = "DONE") -> None:
        for one in ids:
            item = {"id": {"S": one}, "status": {"S": status}, "photo": {"B": b"\x00"}}
            self.dynamodb.put_item(TableName=self.name, Item=item)

    def reading(
        self,
        function: Function,
        *,
        size: int = 10,
        retries: int = 1,
        bisects: bool = True,
        failures_to: str = "",
    ) -> Streams:
        destination = failures_to or self.queue
        source = StreamSource(self.stream, "Toy", (PATTERN,), size, retries, bisects, True, destination)  # noqa: FBT003  # the last flag is reports_batch_item_failures
        return Streams([source], cast("Functions", function), {"Toy": self.machine})

    def given_up(self) -> dict[str, Any]:
        """Return the next message in the failure queue."""
        (message,) = self.sqs.receive_message(QueueUrl=self.queue, WaitTimeSeconds=20)["Messages"]
        return dict(json.loads(message["Body"]))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    running = aws.start()
    yield Machine(running.endpoint, "us-east-1", aws.ACCOUNT, aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY)
    running.stop()


@pytest.fixture
def table(machine: Machine) -> Table:
    session = boto3.Session(machine.access_key_id, machine.secret_access_key, region_name=machine.region)
    dynamodb = session.client("dynamodb", endpoint_url=machine.endpoint)
    sqs = session.client("sqs", endpoint_url=machine.endpoint)
    name = f"table-{uuid.uuid4().hex}"
    made = dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    stream = made["TableDescription"]["LatestStreamArn"]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    return Table(machine, name, stream, queue, dynamodb, sqs)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LONGEST_BACKOFF", 0)


def test_matching_records_are_delivered_once_and_in_order(table: Table) -> None:
    table.put("a")
    table.put("b", status="BUSY")
    function = Function()
    with table.reading(function, size=2):
        function.wait_for(1)
        table.put("c", "d", "e")
        while len([one for batch in function.batches for one in batch]) < 4:
            function.wait_for(len(function.batches) + 1)
    assert [one for batch in function.batches for one in batch] == ["a", "c", "d", "e"]
    assert max(map(len, function.batches)) <= 2
    record = function.events[0]["Records"][0]
    assert record["eventSourceARN"] == table.stream
    assert record["eventName"] == "INSERT"
    assert isinstance(record["dynamodb"]["ApproximateCreationDateTime"], int)
    assert record["dynamodb"]["NewImage"] == {
        "id": {"S": "a"},
        "status": {"S": "DONE"},
        "photo": {"B": "AA=="},
    }


def test_failed_record_is_redelivered_with_later_ones(table: Table) -> None:
    table.put("a", "b", "c")
    function = Function()

    def answer(ids: list[str]) -> Result:
        records = function.events[-1]["Records"]
        number = records[ids.index("b")]["dynamodb"]["SequenceNumber"]
        failed = [{"itemIdentifier": number}] if len(function.batches) == 1 else []
        return Result(json.dumps({"batchItemFailures": failed}).encode())

    function.answer = answer
    with table.reading(function):
        assert function.wait_for(2) == [["a", "b", "c"], ["b", "c"]]


def test_crashing_record_is_isolated_and_reported(table: Table) -> None:
    table.put("a", "b", "poison", "d")
    function = Function(lambda ids: CRASHED if "poison" in ids else OK)
    with table.reading(function, retries=2):
        report = table.given_up()
        table.put("e")
        batches = function.wait_for(8)
    assert batches == [
        ["a", "b", "poison", "d"],
        ["a", "b"],
        ["poison", "d"],
        *[["poison"]] * 3,
        ["d"],
        ["e"],
    ]
    assert report["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert report["requestContext"]["approximateInvokeCount"] == 3
    number = function.events[3]["Records"][0]["dynamodb"]["SequenceNumber"]
    info = report["DDBStreamBatchInfo"]
    assert (info["startSequenceNumber"], info["batchSize"], info["streamArn"]) == (number, 1, table.stream)


def test_bucket_gets_the_failed_records_whole(table: Table) -> None:
    machine = table.machine
    session = boto3.Session(machine.access_key_id, machine.secret_access_key, region_name=machine.region)
    s3 = session.client("s3", endpoint_url=machine.endpoint)
    s3.create_bucket(Bucket=table.name)
    table.put("a", "poison")
    function = Function(lambda ids: CRASHED if "poison" in ids else OK)
    with table.reading(function, retries=0, failures_to=f"arn:aws:s3:::{table.name}"):
        function.wait_for(3)
        table.put("b")
        function.wait_for(4)
    (stored,) = s3.list_objects_v2(Bucket=table.name)["Contents"]
    assert re.fullmatch(
        rf"aws/lambda/{UUID}/[\w-]+/\d{{4}}/\d\d/\d\d/[\d-]{{10}}T\d\d\.\d\d\.\d\d-{UUID}", stored["Key"]
    )
    report = json.loads(s3.get_object(Bucket=table.name, Key=stored["Key"])["Body"].read())
    assert report["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert json.loads(report["payload"]) == function.events[2]
    assert "Messages" not in table.sqs.receive_message(QueueUrl=table.queue)


def test_mapping_to_a_missing_bucket_is_refused(table: Table) -> None:
    with (
        pytest.raises(ClientError, match="NoSuchBucket"),
        table.reading(Function(), failures_to="arn:aws:s3:::none"),
    ):
        pass


@pytest.mark.parametrize("answer", [CRASHED, Result(b'{"batchItemFailures": [{"itemIdentifier": "?"}]}')])
def test_batch_without_bisection_is_redelivered_whole(table: Table, answer: Result) -> None:
    table.put("a", "b")
    answers = iter([answer, OK])
    function = Function(lambda _: next(answers))
    with table.reading(function, bisects=False):
        assert function.wait_for(2) == [["a", "b"], ["a", "b"]]


def test_throttled_invocation_is_repeated_and_counts_as_no_retry(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "THROTTLED_SECONDS", 0)
    table.put("a")
    answers = iter([THROTTLE, THROTTLE, OK, OK])
    function = Function(lambda _: next(answers))
    with table.reading(function, retries=0):
        function.wait_for(3)
        table.put("b")
        assert function.wait_for(4) == [["a"], ["a"], ["a"], ["b"]]
    assert "Messages" not in table.sqs.receive_message(QueueUrl=table.queue)


def test_throttled_reader_stops_with_its_cloud(table: Table) -> None:
    table.put("a")
    function = Function(lambda _: THROTTLE)
    with table.reading(function, retries=0):
        function.wait_for(2)
    assert "Messages" not in table.sqs.receive_message(QueueUrl=table.queue)


def test_read_records_are_deleted_and_reading_continues(table: Table) -> None:
    table.put("a", "b", "c")
    function = Function()
    session = boto3.Session(aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY, region_name="us-east-1")
    client = session.client("dynamodbstreams", endpoint_url=table.machine.endpoint)

    def first() -> int:
        shard = client.describe_stream(StreamArn=table.stream)["StreamDescription"]["Shards"][0]
        return int(shard["SequenceNumberRange"]["StartingSequenceNumber"])

    before = first()
    with table.reading(function):
        function.wait_for(1)
        table.put("d")
        function.wait_for(2)
        table.put("e")
        assert function.wait_for(3)[1:] == [["d"], ["e"]]
    assert first() >= before + 4


def test_refused_transaction_changes_nothing_and_ends_no_stream(table: Table) -> None:
    def put(one: str, **options: object) -> dict[str, Any]:
        item = {"id": {"S": one}, "status": {"S": "DONE"}}
        return {"Put": {"TableName": table.name, "Item": item, **options}}

    function = Function()
    with table.reading(function):
        table.put("first")
        function.wait_for(1)
        refused = [put("new"), put("first", ConditionExpression="attribute_not_exists(id)")]
        with pytest.raises(table.dynamodb.exceptions.TransactionCanceledException):
            table.dynamodb.transact_write_items(TransactItems=refused)
        table.dynamodb.transact_write_items(TransactItems=[put("second"), put("third")])
        assert function.wait_for(2) == [["first"], ["second", "third"]]
    found = table.dynamodb.scan(TableName=table.name)["Items"]
    assert {one["id"]["S"] for one in found} == {"first", "second", "third"}

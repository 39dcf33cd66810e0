"""Tests of EventBridge's bus: its log lines and its deliveries to API destinations."""

from __future__ import annotations

import itertools
import json
import queue
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, override

import boto3
import pytest

from tests.localcloud import aws, event_bus
from tests.localcloud.event_bus import EventBus
from tests.localcloud.functions import Log, Machine
from tests.localcloud.http_server import HttpServer, Request, Response
from tests.localcloud.patterns import Pattern
from tests.localcloud.stack import EventTarget, QueueTarget

DETAIL = {"job_id": "j", "owner": 'a "quoted" <source> <time>', "size": 3, "error": None}


class Lines(Log):
    """A log that also queues its lines."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    @override
    def write(self, lines: bytes) -> None:
        super().write(lines)
        self.lines.put(json.loads(lines))

    def events(self, count: int) -> list[dict[str, Any]]:
        """Wait for the next `count` events and return them."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            line = self.lines.get(timeout=20)
            found += [line["event"]] if line["message"] == "event" else []
        return found


class Callback:
    """A destination that answers with `statuses` in turn."""

    def __init__(self, *statuses: int) -> None:
        self.requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._statuses = itertools.chain(statuses, itertools.repeat(statuses[-1]))
        self.server = HttpServer().start(self._answer)

    def _answer(self, request: Request) -> Response:
        self.requests.put(request)
        return Response(next(self._statuses), (("location", "http://127.0.0.1:9/"),))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    running = aws.start()
    yield Machine(running.endpoint, "us-east-1", aws.ACCOUNT, aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY)
    running.stop()


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_bus, "LONGEST_BACKOFF", 0)


def client(machine: Machine, service: str) -> Any:
    session = boto3.Session(machine.access_key_id, machine.secret_access_key, region_name=machine.region)
    return session.client(service, endpoint_url=machine.endpoint)  # type: ignore[call-overload]  # the stub lists literal names


def target(machine: Machine, url: str, *, retries: int = 3, source: str) -> EventTarget:
    rule = f"rule-{uuid.uuid4().hex}"
    dead_letters = client(machine, "sqs").create_queue(QueueName=f"dead-{rule}")["QueueUrl"]
    return EventTarget(
        rule=rule,
        rule_arn=f"arn:{rule}",
        pattern={"source": [source]},
        arn="arn:destination",
        method="POST",
        url=url,
        header="X-Key",
        header_value="k",
        maximum_retries=retries,
        maximum_age=60,
        dead_letter_queue_url=dead_letters,
        role="CallbackRole",
    )


def put(machine: Machine, source: str) -> None:
    entry = {"Source": source, "DetailType": "Job Failed", "Detail": json.dumps(DETAIL)}
    assert client(machine, "events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def buried(machine: Machine, one: EventTarget) -> dict[str, Any]:
    """Return the next message in the target's dead-letter queue."""
    (message,) = client(machine, "sqs").receive_message(
        QueueUrl=one.dead_letter_queue_url, WaitTimeSeconds=20, MessageAttributeNames=["All"]
    )["Messages"]
    return dict(message)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Lines]:
    made = Lines(tmp_path / "log")
    yield made
    made.close()


def test_event_is_logged_and_redelivered_until_accepted(machine: Machine, log: Lines) -> None:
    callback = Callback(500, 429, 204)
    source = uuid.uuid4().hex
    with (
        callback.server,
        EventBus(
            [target(machine, f"{callback.server.url}/x?y=1", source=source)],
            machine,
            log,
            stack_name="triptych",
        ),
    ):
        put(machine, "another source")
        put(machine, source)
        requests = [callback.requests.get(timeout=20) for _ in range(3)]
        logged: list[dict[str, Any]] = []
        while not {"another source", source} <= {one["source"] for one in logged}:
            logged += log.events(1)  # events of another test may be logged too
        assert callback.requests.empty()
    assert len({request.body for request in requests}) == 1
    request = requests[0]
    assert (request.method, request.target, request.header("x-key")) == ("POST", "/x?y=1", "k")
    assert request.header("content-type") == "application/json; charset=utf-8"
    event = json.loads(request.body)
    assert set(event) == set(event_bus.ENVELOPE)
    assert (event["source"], event["detail-type"], event["detail"]) == (source, "Job Failed", DETAIL)
    assert event["account"] == machine.account
    assert event in logged
    assert callback.server.url not in log.path.read_text()


@pytest.mark.parametrize("status", [400, 404, 410, 307])
def test_refused_event_becomes_a_dead_letter_at_once(machine: Machine, log: Lines, status: int) -> None:
    callback = Callback(status)
    source = uuid.uuid4().hex
    one = target(machine, callback.server.url, source=source)
    with callback.server, EventBus([one], machine, log, stack_name="triptych"):
        put(machine, source)
        message = buried(machine, one)
    assert callback.requests.qsize() == 1
    assert json.loads(message["Body"])["detail"] == DETAIL
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes["RULE_ARN"] == one.rule_arn
    assert str(status) in attributes["ERROR_MESSAGE"]


def test_unreachable_destination_gets_the_rules_number_of_retries(machine: Machine, log: Lines) -> None:
    source = uuid.uuid4().hex
    one = target(machine, "http://127.0.0.1:9/", retries=2, source=source)
    with EventBus([one], machine, log, stack_name="triptych"):
        put(machine, source)
        buried(machine, one)
    written = map(json.loads, log.path.read_text().splitlines())
    assert [line["tries"] for line in written if line["message"] == "not delivered"] == [1, 2, 3]


def test_new_object_reaches_the_queue_of_a_rule(machine: Machine, log: Lines) -> None:
    name = uuid.uuid4().hex
    s3, sqs = client(machine, "s3"), client(machine, "sqs")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = f"arn:aws:sqs:{machine.region}:{machine.account}:{name}"
    for bucket in (name, f"other-{name}"):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
    pattern: Pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [name]}},
    }
    with EventBus([], machine, log, stack_name="triptych", queues=[QueueTarget(name, pattern, arn)]):
        for bucket in (f"other-{name}", name):
            s3.put_object(Bucket=bucket, Key=f"in {bucket}", Body=b"x")
        (message,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20, MaxNumberOfMessages=10)[
            "Messages"
        ]
    assert json.loads(message["Body"])["detail"]["object"]["key"] == f"in {name}"

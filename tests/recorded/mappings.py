"""Plays the recorded cases of event source mappings: a function with scripted results, and what it must have received."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.recorded.play import compare, filled

if TYPE_CHECKING:
    from tests.recorded.cases import Case
    from tests.recorded.play import Cloud

ERROR = "error"  # the result of an invocation that raises


class ScriptedFunction:
    """Keeps the events of its invocations, and returns the results of a case in turn; the last one again and again."""

    def __init__(self, case: Case) -> None:
        content = case.content
        self.events: list[dict[str, Any]] = []
        self._results = content["results"] if "results" in content else [content.get("result")]
        self._changed = threading.Condition()

    def invoke(self, event: dict[str, Any]) -> Any:
        """Return ERROR or the value that the function returns."""
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()
            result = self._results[min(self._attempt(event), len(self._results)) - 1]
        if isinstance(result, dict) and "failed" in result:
            named = [(_name(record), _identifier(record)) for record in event["Records"]]
            failed = [identifier for name, identifier in named if name in result["failed"]]
            return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}
        return result

    def _attempt(self, event: dict[str, Any]) -> int:
        """Return the number of the attempt: of the first message of a queue, or of all invocations by a stream."""
        counts = event["Records"][0].get("attributes", {})
        return int(counts.get("ApproximateReceiveCount", len(self.events)))

    def await_events(self, count: int, patience: int) -> bool:
        """Wait for `count` events, `patience` seconds at most; return whether they came."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.events) >= count, patience)

    def await_records(self, count: int, patience: int) -> bool:
        """Wait for `count` records, `patience` seconds at most; return whether they came."""
        with self._changed:
            return self._changed.wait_for(
                lambda: sum(len(event["Records"]) for event in self.events) >= count, patience
            )


def _name(record: dict[str, Any]) -> str:
    """Return the body of a queue's record or the key of a stream's record."""
    if "body" in record:
        return str(record["body"])
    (key,) = record["dynamodb"]["Keys"].values()
    return str(key["S"])


def _identifier(record: dict[str, Any]) -> str:
    return str(record["messageId"] if "body" in record else record["dynamodb"]["SequenceNumber"])


def prepare_queue(case: Case, cloud: Cloud, names: dict[str, str], visibility: int) -> None:
    """Set the queue's visibility timeout, in seconds, and its redrive policy; send the case's messages."""
    content, sqs = case.content, cloud.client("sqs")
    attributes = {"VisibilityTimeout": str(visibility)}
    if content["maximum_receives"]:
        redrive = {
            "deadLetterTargetArn": names["dead_letter_arn"],
            "maxReceiveCount": content["maximum_receives"],
        }
        attributes["RedrivePolicy"] = json.dumps(redrive)
    sqs.set_queue_attributes(QueueUrl=names["queue"], Attributes=attributes)
    entries = [
        {"Id": body, "MessageBody": body, "MessageAttributes": content.get("attributes", {})}
        for body in content["messages"]
    ]
    sqs.send_message_batch(QueueUrl=names["queue"], Entries=entries)


def queue_differences(
    case: Case, function: ScriptedFunction, cloud: Cloud, names: dict[str, str], patience: int
) -> dict[str, str]:
    """Wait for the invocations and dead letters of a case; return the places that differ from AWS.

    Args:
        case: The case.
        function: The function that the queue invokes.
        cloud: The cloud.
        names: The names of the case.
        patience: The longest wait, in seconds, for the invocations and for the dead letters.
    """
    content = case.content
    deliveries: dict[str, list[str]] = {}  # a queue may split a batch, so the batches are not compared
    for one in content["invocations"] or ():
        for message, count in zip(one["messages"], one["receive_counts"], strict=True):
            deliveries.setdefault(message, []).append(count)
    records = sum(map(len, deliveries.values())) or len(content["messages"]) * len(content["results"])
    came = function.await_records(records, patience)
    expected = len(content["dead_letters"]) if came else 0
    dead = [one["Body"] for one in _receive(cloud, names["dead_letters"], expected, patience)]
    here: dict[str, Any] = {"dead_letters": sorted(dead), "deliveries": {}, "record": None}
    for record in (record for event in function.events for record in event["Records"]):
        here["record"] = here["record"] or record
        count = record["attributes"]["ApproximateReceiveCount"]
        here["deliveries"].setdefault(_name(record), []).append(count)
    aws: dict[str, Any] = {"dead_letters": content["dead_letters"], "deliveries": deliveries}
    if "record" in content:
        aws["record"] = content["record"]
    return dict(compare(filled(aws, names), here))


def prepare_stream(case: Case, cloud: Cloud, names: dict[str, str]) -> str:
    """Make a table with a stream, and put the case's items; return the stream's ARN."""
    dynamodb, items = cloud.client("dynamodb"), case.content["items"]
    key = next(iter(items[0])) if items else "id"
    made = dynamodb.create_table(
        TableName=names["name"],
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": case.content.get("view", "NEW_IMAGE")},
    )
    for item in items:
        dynamodb.put_item(TableName=names["name"], Item=item)
    return str(made["TableDescription"]["LatestStreamArn"])


def stream_differences(
    case: Case, function: ScriptedFunction, cloud: Cloud, names: dict[str, str], patience: int
) -> dict[str, str]:
    """Wait for the invocations and the failure report of a case; return the places that differ from AWS.

    Args:
        case: The case.
        function: The function that the stream invokes.
        cloud: The cloud.
        names: The names of the case, also `stream_arn` and `function_arn`.
        patience: The longest wait, in seconds, for the invocations and for the report.
    """
    content = case.content
    wanted = content.get("invocations", len(content["records"]) if "records" in content else 1)
    came = function.await_events(wanted, patience)
    expected = 1 if content.get("report") and came else 0
    reports = _receive(cloud, names["dead_letters"], expected, patience)
    records = [record for event in function.events for record in event["Records"]]
    here: dict[str, Any] = {
        "records": records,
        "deliveries": dict(Counter(_name(record) for record in records)),
        "invocations": len(function.events),
        "report": json.loads(reports[0]["Body"]) if reports else None,
    }
    aws = {name: content[name] for name in here if name in content}
    return dict(compare(filled(aws, names), here))


def _receive(cloud: Cloud, queue: str, count: int, patience: int) -> list[dict[str, Any]]:
    """Wait for `count` messages; return them, and any more that are there."""
    found: list[dict[str, Any]] = []
    for _ in range(count + 1):
        wait = patience if len(found) < count else 0
        answer = cloud.client("sqs").receive_message(
            QueueUrl=queue, WaitTimeSeconds=wait, MaxNumberOfMessages=10
        )
        found += answer.get("Messages", [])
    return found

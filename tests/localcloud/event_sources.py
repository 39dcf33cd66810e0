"""SQS event source mappings: poll a queue and invoke a function, as Lambda does.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self, override

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.localcloud.background import Background

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from tests.localcloud.functions import Functions, Machine, Result
    from tests.localcloud.stack import EventSource

POLL_SECONDS = 1  # of a long poll; short, because a stopping cloud waits for it
RECEIVE_MAX = 10  # messages that one ReceiveMessage returns

_log = logging.getLogger(__name__)


class EventSources(Background):
    """Polls each queue under the function's role, while a worker is free and the context is open.

    It receives a message only when an invocation can start at once, so that no message waits in a buffer. Each queue
    has one poller, because moto gives the same message to two concurrent receivers.
    """

    def __init__(
        self,
        sources: Iterable[EventSource],
        functions: Functions,
        machines: Mapping[str, Machine],
        *,
        workers: int,
    ) -> None:
        super().__init__()
        self._pollers = [
            _Poller(source, functions, machines[source.function], workers, self._stopping)
            for source in sources
        ]
        self._runs = {f"poll-{poller.name}": poller.run for poller in self._pollers}

    @override
    def start(self) -> Self:
        """Start to poll.

        Raises:
            ClientError: A function's role may not read its queue's attributes. Lambda would not create the mapping.
        """
        for poller in self._pollers:
            poller.check()
        return super().start()


def workers_of_queues(sources: Iterable[EventSource], workers: int) -> dict[str, int]:
    """Return how many processes each function needs, by logical id, so that no queue takes another one's."""
    needed: Counter[str] = Counter()
    for source in sources:
        needed[source.function] += min(workers, source.maximum_concurrency or workers)
    return dict(needed)


class _Poller:
    def __init__(
        self,
        source: EventSource,
        functions: Functions,
        machine: Machine,
        workers: int,
        stopping: threading.Event,
    ) -> None:
        self._source = source
        self.name = source.queue_arn.rpartition(":")[2]
        self._functions = functions
        self._region = machine.region
        self._stopping = stopping
        self._concurrency = min(workers, source.maximum_concurrency or workers)
        self._slots = threading.BoundedSemaphore(self._concurrency)
        self._sqs: SQSClient = boto3.session.Session(
            machine.access_key_id, machine.secret_access_key, machine.session_token or None, machine.region
        ).client(
            "sqs",
            endpoint_url=machine.endpoint,
            config=Config(max_pool_connections=self._concurrency + 1, proxies={}),
        )

    def check(self) -> None:
        self._sqs.get_queue_attributes(QueueUrl=self._source.queue_url, AttributeNames=["VisibilityTimeout"])

    def run(self) -> None:
        while not self._stopping.is_set():
            if not self._slots.acquire(timeout=POLL_SECONDS):
                continue
            messages: list[MessageTypeDef] = []
            try:
                if self._functions.wait_until_free(self._source.function, POLL_SECONDS):
                    messages = self._receive()
            except (BotoCoreError, ClientError) as error:
                if not self._stopping.wait(POLL_SECONDS):
                    _log.warning("%s: %s", self._source.queue_url, error)
            if messages and not self._stopping.is_set():
                self._invoke(messages)
            else:
                self._slots.release()

    def _receive(self) -> list[MessageTypeDef]:
        """Receive a batch: the waiting messages, or all messages of a batching window."""
        messages = self._receive_some(self._source.batch_size, POLL_SECONDS)
        end = time.monotonic() + self._source.batching_window
        while messages and (missing := self._source.batch_size - len(messages)) > 0:
            left = end - time.monotonic()
            if left <= 0 or self._stopping.is_set():
                break
            messages += self._receive_some(missing, min(POLL_SECONDS, int(left) + 1))
        return messages

    def _receive_some(self, most: int, seconds: int) -> list[MessageTypeDef]:
        return self._sqs.receive_message(
            QueueUrl=self._source.queue_url,
            MaxNumberOfMessages=min(most, RECEIVE_MAX),
            WaitTimeSeconds=seconds,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])

    def _invoke(self, messages: list[MessageTypeDef]) -> None:
        event = {"Records": [record(message, self._source.queue_arn, self._region) for message in messages]}
        future = self._functions.submit(self._source.function, json.dumps(event).encode())
        future.add_done_callback(lambda done: self._settle(messages, done.result()))

    def _settle(self, messages: list[MessageTypeDef], result: Result) -> None:
        """Delete the processed messages. SQS redelivers the others when their visibility timeout ends."""
        failed = failures(
            [message["MessageId"] for message in messages],
            result,
            reported=self._source.reports_batch_item_failures,
        )
        done = [message for message in messages if message["MessageId"] not in failed]
        try:
            for start in range(0, len(done), RECEIVE_MAX):
                batch = enumerate(done[start : start + RECEIVE_MAX])
                self._sqs.delete_message_batch(
                    QueueUrl=self._source.queue_url,
                    Entries=[
                        {"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in batch
                    ],
                )
        except (BotoCoreError, ClientError) as error:
            if not self._stopping.is_set():
                _log.warning("%s: not deleted: %s", self._source.queue_url, error)
        finally:
            self._slots.release()


def record(message: MessageTypeDef, queue_arn: str, region: str) -> dict[str, object]:
    """Return the Record that Lambda makes of a received message.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    made: dict[str, object] = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {
                "stringValue": value.get("StringValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": region,
    }
    if "MD5OfMessageAttributes" in message:
        made["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return made


def failures(message_ids: Sequence[str], result: Result, *, reported: bool) -> set[str]:
    """Return the ids of the messages to redeliver: those that the function names, or all if its answer is invalid.

    Args:
        message_ids: The ids of the batch.
        result: The result of the invocation.
        reported: Whether the mapping has ReportBatchItemFailures.
    """
    everything = set(message_ids)
    if result.function_error is not None:
        return everything
    if not reported:
        return set()
    try:
        answer = json.loads(result.payload)
        items = answer.get("batchItemFailures") if answer else None  # an empty answer of any kind names none
        named = {item["itemIdentifier"] for item in items or ()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return everything
    return named if named.issubset(everything) else everything

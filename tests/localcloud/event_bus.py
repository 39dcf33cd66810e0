"""EventBridge's default bus: log each event and deliver it to the targets of matching rules.

moto matches events to rules and puts them into one queue for each rule. This module delivers them from there to API
destinations. If a rule's target is a queue, moto puts them directly there.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html
"""

from __future__ import annotations

import json
import logging
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.localcloud.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from tests.localcloud.functions import Log, Machine
    from tests.localcloud.stack import EventTarget, QueueTarget

ENVELOPE = ("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail")
# Without an input template moto omits the account, and replaces text such as <source> in the detail.
WHOLE = "<aws.events.event.json>"
EVERYTHING = {"source": [{"prefix": ""}]}
POLL_SECONDS = 1  # of a long poll; short, because a stopping cloud waits for it
INVOKE_SECONDS = 5  # EventBridge's timeout for an answer
BATCH = 10  # concurrent deliveries for each rule
VISIBILITY_SECONDS = 30  # longer than the delivery of a batch
LONGEST_BACKOFF = 60  # seconds; EventBridge's own is not documented
RETRIED = frozenset({401, 407, 409, 429})  # and 5xx; every other error is final

type Event = dict[str, Any]
# Takes an event, the number of deliveries including this one, and the event's age in seconds. Returns the seconds
# until the next delivery, or None if there is none.
type Deliver = Callable[[Event, int, float], int | None]

_log = logging.getLogger(__name__)


class EventBus(Background):
    """Receives events from its creation on; delivers them while its context is open."""

    def __init__(
        self,
        targets: Iterable[EventTarget],
        machine: Machine,
        log: Log,
        *,
        stack_name: str,
        queues: Iterable[QueueTarget] = (),
    ) -> None:
        super().__init__()
        session = boto3.session.Session(
            machine.access_key_id, machine.secret_access_key, machine.session_token or None, machine.region
        )
        config = Config(proxies={}, max_pool_connections=4 * BATCH)
        sqs = session.client("sqs", endpoint_url=machine.endpoint, config=config)
        events = session.client("events", endpoint_url=machine.endpoint, config=config)
        subscriptions: list[tuple[str, Mapping[str, object], Deliver]] = [
            (f"{stack_name}-log", EVERYTHING, lambda event, *_: _write(log, "INFO", "event", event=event))
        ]
        subscriptions += [(one.rule, one.pattern, _Calling(one, sqs, log).call) for one in targets]
        for name, pattern, deliver in subscriptions:
            queue = sqs.create_queue(
                QueueName=f"local-event-bus-{name}", Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)}
            )["QueueUrl"]
            arn = f"arn:aws:sqs:{machine.region}:{machine.account}:local-event-bus-{name}"
            events.put_rule(Name=f"local-{name}", EventPattern=json.dumps(pattern))
            target = {"Id": "queue", "Arn": arn, "InputTransformer": {"InputTemplate": WHOLE}}
            events.put_targets(Rule=f"local-{name}", Targets=[target])
            subscriber = _Subscriber(queue, sqs, deliver, self._stopping)
            self._runs[f"events-{name}"] = subscriber.run
        for one in queues:
            events.put_rule(Name=one.rule, EventPattern=json.dumps(one.pattern))
            events.put_targets(Rule=one.rule, Targets=[{"Id": "queue", "Arn": one.queue_arn}])


class _Calling:
    def __init__(self, target: EventTarget, sqs: SQSClient, log: Log) -> None:
        self._target = target
        self._sqs = sqs
        self._log = log
        self._http = httpx.Client(
            timeout=INVOKE_SECONDS, trust_env=False, limits=httpx.Limits(max_connections=BATCH)
        )

    def call(self, event: Event, tries: int, age: float) -> int | None:
        """Call the destination; send an event that cannot be delivered to the dead-letter queue. A `Deliver`."""
        target = self._target
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Amazon/EventBridge/ApiDestinations",
            target.header: target.header_value,
        }
        final = False
        try:
            with self._http.stream(
                target.method, target.url, content=json.dumps(event), headers=headers
            ) as response:  # EventBridge does not read the body
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason, code = type(error).__name__, "CONNECTION_FAILURE"
        else:
            if httpx.codes.is_success(status):
                return None
            final = status not in RETRIED and not httpx.codes.is_server_error(status)
            reason, code = f"HTTP status code {status}", "SDK_CLIENT_ERROR"
        _write(
            self._log, "WARNING", "not delivered", rule=target.rule, id=event["id"], tries=tries, why=reason
        )
        if not final and tries <= target.maximum_retries and age < target.maximum_age:
            return min(1 << (tries - 1), LONGEST_BACKOFF)
        self._bury(event, code, reason)
        return None

    def _bury(self, event: Event, code: str, message: str) -> None:
        target = self._target
        attributes = {
            "ERROR_CODE": code,
            "ERROR_MESSAGE": message,
            "RULE_ARN": target.rule_arn,
            "TARGET_ARN": target.arn,
        }
        self._sqs.send_message(
            QueueUrl=target.dead_letter_queue_url,
            MessageBody=json.dumps(event),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )


class _Subscriber:
    """Delivers the messages of a rule's queue; returns undelivered messages to the queue."""

    def __init__(self, queue: str, sqs: SQSClient, deliver: Deliver, stopping: threading.Event) -> None:
        self._queue = queue
        self._sqs = sqs
        self._deliver = deliver
        self._stopping = stopping

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                messages = self._sqs.receive_message(
                    QueueUrl=self._queue,
                    MaxNumberOfMessages=BATCH,
                    WaitTimeSeconds=POLL_SECONDS,
                    MessageSystemAttributeNames=["All"],
                ).get("Messages", [])
            except (BotoCoreError, ClientError) as error:
                if not self._stopping.wait(POLL_SECONDS):
                    _log.warning("%s: %s", self._queue, error)
                continue
            # Daemon threads, because a destination that hangs must not delay a stopping cloud.
            threads = [threading.Thread(target=self._take, args=(one,), daemon=True) for one in messages]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(2 * INVOKE_SECONDS)  # a slow answer must not delay other events

    def _take(self, message: MessageTypeDef) -> None:
        body: Mapping[str, Any] = json.loads(message["Body"])
        event = {name: body[name] for name in ENVELOPE}
        age = time.time() - int(message["Attributes"]["SentTimestamp"]) / 1000
        tries = int(message["Attributes"]["ApproximateReceiveCount"])
        handle = message["ReceiptHandle"]
        try:
            wait = self._deliver(event, tries, age)
            if wait is None:
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=handle)
            else:
                self._sqs.change_message_visibility(
                    QueueUrl=self._queue, ReceiptHandle=handle, VisibilityTimeout=wait
                )
        except (BotoCoreError, ClientError) as error:
            if not self._stopping.is_set():
                _log.warning("%s: %s", self._queue, error)


def _write(log: Log, level: str, message: str, **more: object) -> None:
    """Write a line in the format of the functions' logs. Never log a destination's URL, which may hold a secret."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"level": level, "message": message, "timestamp": now, "service": "events", **more}
    log.write(json.dumps(line).encode() + b"\n")

"""Where moto 5.2.5 differs from AWS in what this project leans on, mended in one place."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from flask import request
from moto.core.utils import unix_time_millis
from moto.dynamodbstreams.models import DynamoDBStreamsBackend
from moto.s3 import notifications
from moto.s3.notifications import S3NotificationEvent
from moto.sqs.models import SQSBackend

if TYPE_CHECKING:
    from moto.s3.models import FakeBucket, FakeKey
    from moto.sqs.models import Message, Queue

# moto is not atomic by itself: one request at a time holds this. A ReceiveMessage that waits lets go of it, and is
# woken by every other request.
changed = threading.Condition(threading.Lock())

_sequence = itertools.count(time.time_ns())
_moto_event = notifications._get_s3_event  # there is no public hook
_moto_send_event = notifications.send_event
_moto_receive_message = SQSBackend.receive_message


def apply() -> None:
    """Mend this process's moto."""
    notifications._get_s3_event = _event  # as above
    notifications.send_event = _send_event
    SQSBackend.receive_message = _receive_message  # type: ignore[method-assign]  # this is what a patch does
    DynamoDBStreamsBackend.get_records = _get_records  # type: ignore[method-assign]  # as above


def _event(
    event_name: str, bucket: FakeBucket, key: FakeKey, notification_id: str
) -> dict[str, list[dict[str, object]]]:
    """An event with a sequencer, with who and whence, and with the slashes of its key as they are.

    Source: "Event message structure" in the Amazon S3 User Guide.
    """
    message = _moto_event(event_name, bucket, key, notification_id)
    message["Records"][0] |= {
        "userIdentity": {"principalId": "AWS:LOCAL"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "0" * 16, "x-amz-id-2": "0" * 76},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": notification_id,
            "bucket": {"name": bucket.name, "ownerIdentity": {"principalId": "LOCAL"}, "arn": bucket.arn},
            "object": {
                "key": quote_plus(key.name, safe="/"),
                "size": key.size,
                "eTag": key.etag.strip('"'),
                "sequencer": f"{next(_sequence):018X}",
            },
        },
    }
    return message


def _send_event(account_id: str, event_name: S3NotificationEvent, bucket: FakeBucket, key: FakeKey) -> None:
    """A multipart upload is one CompleteMultipartUpload: moto says a Put as well."""
    if key.multipart is None or event_name != S3NotificationEvent.OBJECT_CREATED_PUT_EVENT:
        _moto_send_event(account_id, event_name, bucket, key)


def _receive_message(
    self: SQSBackend,
    queue_name: str,
    count: int,
    wait_seconds_timeout: int,
    visibility_timeout: int,
    message_attribute_names: list[str] | None = None,
) -> list[Message]:
    """A long poll that lets others in, wakes at once, and takes no message for a client that has gone."""
    end = time.monotonic() + wait_seconds_timeout
    while True:
        messages = _moto_receive_message(
            self, queue_name, count, 0, visibility_timeout, message_attribute_names
        )
        left = end - time.monotonic()
        if messages or left <= 0:
            return messages
        changed.wait(min(left, _until_due(self.get_queue(queue_name))))
        if _client_has_gone():
            return []


def _until_due(queue: Queue) -> float:
    """Seconds until the next message that is delayed or in flight comes up."""
    everyone = queue._messages  # `messages` leaves them out
    due = min((max(one.visible_at, one.delayed_until) for one in everyone), default=float("inf"))
    return max((due - unix_time_millis()) / 1000, 0) + 0.005


def _client_has_gone() -> bool:
    connection: socket.socket = request.environ["werkzeug.socket"]
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _get_records(self: DynamoDBStreamsBackend, iterator_arn: str, limit: int) -> dict[str, object]:
    """Let go of what was read: a stream has one reader here, and moto would keep every image of every job.

    An iterator is used once, and what lies before it is done with.
    """
    iterator = self.shard_iterators.pop(iterator_arn)
    shard = iterator.stream_shard
    read = max(iterator.sequence_number - shard.starting_sequence_number, 0)
    if iterator.shard_iterator_type != "LATEST":
        del shard.items[:read]
        shard.starting_sequence_number += read
    return iterator.get(limit)

"""Where moto 5.2.5 differs from AWS in what this project leans on, mended in one place.

And where it takes the longest way to the same answer: half of the CPU of a job in the local cloud was moto's.
"""

from __future__ import annotations

import functools
import itertools
import socket
import threading
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import jsonpath_ng.ext
import moto.backends
from flask import request
from moto.cognitoidp.models import cognitoidp_backends
from moto.cognitoidp.responses import CognitoIdpResponse
from moto.core import responses
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult, EmptyResult
from moto.core.serialize import BaseJSONSerializer
from moto.core.utils import method_names_from_class
from moto.dynamodbstreams.models import DynamoDBStreamsBackend
from moto.s3 import notifications
from moto.s3.notifications import S3NotificationEvent
from moto.sqs import models
from moto.sqs.models import Queue, SQSBackend

if TYPE_CHECKING:
    from moto.core.model import StructureShape
    from moto.s3.models import FakeBucket, FakeKey
    from moto.sqs.models import Message

# moto is not atomic by itself: one request at a time holds this. A ReceiveMessage that waits lets go of it, and is
# woken when a message comes into any queue, or becomes visible sooner than it knew.
changed = threading.Condition(threading.Lock())

_sequence = itertools.count(time.time_ns())
_moto_event = notifications._get_s3_event  # there is no public hook
_moto_send_event = notifications.send_event
_moto_receive_message = SQSBackend.receive_message
_moto_add_message = Queue.add_message
_moto_change_message_visibility = SQSBackend.change_message_visibility
_moto_serialize_structure = BaseJSONSerializer._serialize_type_structure


def apply() -> None:
    """Mend this process's moto."""
    _mend()
    _hasten()


def _mend() -> None:
    notifications._get_s3_event = _event  # as above
    notifications.send_event = _send_event
    SQSBackend.receive_message = _receive_message  # type: ignore[method-assign]  # this is what a patch does
    Queue.add_message = _add_message  # type: ignore[method-assign]  # as above
    SQSBackend.change_message_visibility = _change_message_visibility  # type: ignore[method-assign]  # as above
    DynamoDBStreamsBackend.get_records = _get_records  # type: ignore[method-assign]  # as above
    CognitoIdpResponse.revoke_token = _revoke_token  # type: ignore[attr-defined]  # moto does not know the action


def _hasten() -> None:
    """The same answers, sooner."""
    BaseJSONSerializer._serialize_type_structure = _serialize_structure  # type: ignore[method-assign]  # as above
    modules = frozenset(moto.backends.list_of_moto_modules())  # it reads a folder, for each request
    moto.backends.list_of_moto_modules = lambda: modules
    # It looks through a class, for each request.
    responses.method_names_from_class = functools.cache(method_names_from_class)  # type: ignore[attr-defined]  # imported there
    # It makes a parser of a grammar, for each path of each event.
    jsonpath_ng.ext.parse = functools.cache(jsonpath_ng.ext.parse)  # type: ignore[attr-defined]  # as above
    # It counts days and seconds since 1970, for each message that waits, each time.
    models.unix_time_millis = _milliseconds  # type: ignore[attr-defined]  # as above


def _milliseconds(dt: object = None) -> float:  # moto's signature; it gives none
    """Since the epoch."""
    return time.time() * 1000


def _serialize_structure(
    self: BaseJSONSerializer,
    serialized: MutableMapping[str, object],
    value: object,
    shape: StructureShape,
    key: str,
) -> None:
    """A value of DynamoDB's has one member: moto looks for each of the ten that it might have, under several names."""
    if shape.name != "AttributeValue" or not isinstance(value, dict):
        _moto_serialize_structure(self, serialized, value, shape, key)
        return
    members: dict[str, object] = {}
    for name, member in value.items():
        self._serialize(members, member, shape.members[name], name)
    self._default_serialize(serialized, members, shape, key)


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


def _add_message(self: Queue, message: Message) -> None:
    _moto_add_message(self, message)
    changed.notify_all()


def _change_message_visibility(
    self: SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int
) -> None:
    _moto_change_message_visibility(self, queue_name, receipt_handle, visibility_timeout)
    changed.notify_all()


def _revoke_token(self: CognitoIdpResponse) -> ActionResult:
    """End a refresh token: Cognito refuses it from now on.

    https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_RevokeToken.html
    """
    client, token = self._get_param("ClientId"), self._get_param("Token")
    for backend in cognitoidp_backends[self.current_account].values():  # an unsigned request names no region
        for pool in backend.user_pools.values():
            if client in pool.clients and token in pool.refresh_tokens:
                pool.refresh_tokens[token] = None
                return EmptyResult()
    raise JsonRESTError("UnsupportedTokenTypeException", "The token is no refresh token of this client.")


def _until_due(queue: Queue) -> float:
    """Seconds until the next message that is delayed or in flight comes up."""
    everyone = queue._messages  # `messages` leaves them out
    due = min((max(one.visible_at, one.delayed_until) for one in everyone), default=float("inf"))
    return max((due - _milliseconds()) / 1000, 0) + 0.005


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

"""Patches for moto 5.2.5: fixes where it differs from AWS in ways that matter here, and shortcuts.

The shortcuts return the same answers faster. Without them moto uses half of the CPU time of a job in the local cloud.
"""

from __future__ import annotations

import copy
import functools
import itertools
import socket
import threading
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus
from weakref import WeakKeyDictionary

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
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.dynamodbstreams.models import DynamoDBStreamsBackend
from moto.s3 import notifications
from moto.s3.responses import S3Response
from moto.sqs import models
from moto.sqs.models import Queue, SQSBackend

from tests.support.fair_queues import FairOrder
from tests.support.moto_copies import copy_object

if TYPE_CHECKING:
    from moto.core.model import StructureShape
    from moto.s3.models import FakeBucket, FakeKey
    from moto.sqs.models import Message

# moto's operations are not atomic, so only the request that holds this lock runs. A waiting ReceiveMessage releases the
# lock. It is notified when any queue gets a message, and when a message's visibility changes.
changed = threading.Condition(threading.Lock())

_orders: WeakKeyDictionary[Queue, FairOrder] = WeakKeyDictionary()
_sequence = itertools.count(time.time_ns())
_moto_event = notifications._get_s3_event  # moto has no public hook
_moto_receive_message = SQSBackend.receive_message
_moto_add_message = Queue.add_message
_moto_delete_message = Queue.delete_message
_moto_change_message_visibility = SQSBackend.change_message_visibility
_moto_transact_write_items = DynamoDBBackend.transact_write_items
_moto_serialize_structure = BaseJSONSerializer._serialize_type_structure


def apply() -> None:
    """Patch moto in this process."""
    _fix()
    _speed_up()


def _fix() -> None:
    notifications._get_s3_event = _event
    S3Response.copy_object = copy_object  # type: ignore[method-assign]  # as below
    SQSBackend.receive_message = _receive_message  # type: ignore[method-assign]  # a patch replaces a method
    Queue.add_message = _add_message  # type: ignore[method-assign]  # as above
    Queue.messages = property(_messages)  # type: ignore[assignment,method-assign]  # as above
    Queue.delete_message = _delete_message  # type: ignore[method-assign]  # as above
    SQSBackend.change_message_visibility = _change_message_visibility  # type: ignore[method-assign]  # as above
    DynamoDBStreamsBackend.get_records = _get_records  # type: ignore[method-assign]  # as above
    DynamoDBBackend.transact_write_items = _transact_write_items  # type: ignore[method-assign]  # as above
    Table.__deepcopy__ = _itself  # type: ignore[attr-defined]  # a transaction copies each table otherwise
    CognitoIdpResponse.revoke_token = _revoke_token  # type: ignore[attr-defined]  # moto lacks this action


def _speed_up() -> None:
    BaseJSONSerializer._serialize_type_structure = _serialize_structure  # type: ignore[method-assign]  # as above
    modules = frozenset(moto.backends.list_of_moto_modules())  # moto reads a folder for each request
    moto.backends.list_of_moto_modules = lambda: modules
    # moto inspects a class for each request.
    responses.method_names_from_class = functools.cache(method_names_from_class)  # type: ignore[attr-defined]  # not exported
    # moto builds a parser for each path of each event.
    jsonpath_ng.ext.parse = functools.cache(jsonpath_ng.ext.parse)  # type: ignore[attr-defined]  # as above
    # moto's own is slow and runs for each waiting message at each look.
    models.unix_time_millis = _milliseconds  # type: ignore[attr-defined]  # as above


def _milliseconds(dt: object = None) -> float:  # moto's signature; moto passes no argument here
    """Return milliseconds since the epoch."""
    return time.time() * 1000


def _serialize_structure(
    self: BaseJSONSerializer,
    serialized: MutableMapping[str, object],
    value: object,
    shape: StructureShape,
    key: str,
) -> None:
    """Serialize the one member of a DynamoDB value. moto looks for all ten possible members under several names."""
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
    """Return an S3 event with all fields that AWS sends. moto's lacks some, and encodes the slashes of the key.

    Source: "Event message structure" in the Amazon S3 User Guide.
    """
    message = _moto_event(event_name, bucket, key, notification_id)
    content = (
        {} if event_name.startswith("s3:ObjectRemoved:") else {"size": key.size, "eTag": key.etag.strip('"')}
    )
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
                **content,
                "sequencer": f"{next(_sequence):018X}",
            },
        },
    }
    return message


def _receive_message(
    self: SQSBackend,
    queue_name: str,
    count: int,
    wait_seconds_timeout: int,
    visibility_timeout: int,
    message_attribute_names: list[str] | None = None,
) -> list[Message]:
    """Long-poll without blocking other requests, return at once on a message, and stop if the client has gone."""
    end = time.monotonic() + wait_seconds_timeout
    while True:
        messages = _moto_receive_message(
            self, queue_name, count, 0, visibility_timeout, message_attribute_names
        )
        for message in messages:
            _order(self.get_queue(queue_name)).received(message.group_id, message.id, time.monotonic())
        left = end - time.monotonic()
        if messages or left <= 0:
            return messages
        changed.wait(min(left, _until_due(self.get_queue(queue_name))))
        if _client_has_gone():
            return []


def _add_message(self: Queue, message: Message) -> None:
    _moto_add_message(self, message)
    changed.notify_all()


def _messages(self: Queue) -> list[Message]:
    """Return the visible messages in the order of a fair queue. moto ignores the groups of a standard queue."""
    visible = [one for one in self._messages if one.visible and not one.delayed]
    if self.fifo_queue or not any(one.group_id for one in visible):
        return visible
    return _order(self).sort([(one.group_id, one) for one in visible], time.monotonic())


def _order(queue: Queue) -> FairOrder:
    return _orders.setdefault(queue, FairOrder())


def _delete_message(self: Queue, receipt_handle: str) -> None:
    _end(self, receipt_handle)
    _moto_delete_message(self, receipt_handle)


def _end(queue: Queue, receipt_handle: str) -> None:
    for message in queue._messages:
        if message.had_receipt_handle(receipt_handle):
            _order(queue).ended(message.id, time.monotonic())


def _change_message_visibility(
    self: SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int
) -> None:
    _end(self.get_queue(queue_name), receipt_handle)
    _moto_change_message_visibility(self, queue_name, receipt_handle, visibility_timeout)
    changed.notify_all()


def _itself(table: Table, _: object) -> Table:
    return table


def _transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """Undo the writes of a canceled transaction.

    moto puts a copy of the whole table in the table's place. A reader of the old table's stream reads nothing more.
    """
    before = [_written(self, operation) for item in transact_items for operation in item.values()]
    try:
        _moto_transact_write_items(self, transact_items)
    except Exception:
        for table, key, item, records in before:
            if item is None:
                table.items.pop(key, None)
            else:
                table.items[key] = item
            if table.stream_shard:
                del table.stream_shard.items[records:]
        raise


def _written(backend: DynamoDBBackend, operation: dict[str, Any]) -> tuple[Table, DynamoType, Any, int]:
    """Return what an operation of a transaction may change: a table's item, and the number of its stream's records."""
    table = backend.get_table(operation["TableName"])
    key = DynamoType((operation.get("Key") or operation["Item"])[table.hash_key_attr])
    records = len(table.stream_shard.items) if table.stream_shard else 0
    return table, key, copy.deepcopy(table.items.get(key)), records


def _revoke_token(self: CognitoIdpResponse) -> ActionResult:
    """Revoke a refresh token, so that Cognito refuses it from now on.

    https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_RevokeToken.html
    """
    client, token = self._get_param("ClientId"), self._get_param("Token")
    for backend in cognitoidp_backends[self.current_account].values():  # an unsigned request has no region
        for pool in backend.user_pools.values():
            if client in pool.clients and token in pool.refresh_tokens:
                pool.refresh_tokens[token] = None
                return EmptyResult()
    raise JsonRESTError("UnsupportedTokenTypeException", "The token is not a refresh token of this client.")


def _until_due(queue: Queue) -> float:
    """Return the seconds until the next delayed or in-flight message becomes visible."""
    messages = queue._messages  # the property `messages` omits invisible ones
    due = min((max(one.visible_at, one.delayed_until) for one in messages), default=float("inf"))
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
    """Return records and delete those before them, so that moto does not keep every image of every job.

    A stream has one reader here, which uses each iterator once, so all earlier records are processed.
    """
    iterator = self.shard_iterators.pop(iterator_arn)
    shard = iterator.stream_shard
    read = max(iterator.sequence_number - shard.starting_sequence_number, 0)
    if iterator.shard_iterator_type != "LATEST":
        del shard.items[:read]
        shard.starting_sequence_number += read
    return iterator.get(limit)

"""DynamoDB event source mappings: read a table's stream and invoke a function, as Lambda does.

https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, override

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.localcloud.background import Background
from tests.localcloud.event_sources import failures
from tests.localcloud.functions import THROTTLED
from tests.localcloud.patterns import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from tests.localcloud.functions import Functions, Machine
    from tests.localcloud.stack import StreamSource

BUCKET = "arn:aws:s3:::"
POLL_SECONDS = 0.25  # as Lambda does
PAGE = 1000  # records that one GetRecords returns
LONGEST_BACKOFF = 10.0  # seconds; Lambda's own is not documented
THROTTLED_SECONDS = 0.5  # until a throttled invocation is tried again, which does not count as a retry

_log = logging.getLogger(__name__)


class Streams(Background):
    """Reads each stream from its beginning, in order, under the function's role, while the context is open.

    A stream of moto has one shard, which one thread reads.
    """

    def __init__(
        self, sources: Iterable[StreamSource], functions: Functions, machines: Mapping[str, Machine]
    ) -> None:
        super().__init__()
        self._readers = [
            _Reader(source, functions, machines[source.function], self._stopping) for source in sources
        ]
        self._runs = {f"stream-{reader.function}": reader.run for reader in self._readers}

    @override
    def start(self) -> Self:
        """Start to read.

        Raises:
            ClientError: A function's role may not list streams, or its failed batches. Lambda would not create the mapping.
        """
        for reader in self._readers:
            reader.check()
        return super().start()


type Record = dict[str, Any]  # as GetRecords returns it


@dataclass(frozen=True)
class _Batch:
    records: tuple[Record, ...]
    tries: int = 0


class _Reader:
    def __init__(
        self, source: StreamSource, functions: Functions, machine: Machine, stopping: threading.Event
    ) -> None:
        self._source = source
        self.function = source.function
        self._functions = functions
        self._machine = machine
        self._stopping = stopping
        session = boto3.session.Session(
            machine.access_key_id, machine.secret_access_key, machine.session_token or None, machine.region
        )
        config = Config(proxies={})
        self._stream = session.client("dynamodbstreams", endpoint_url=machine.endpoint, config=config)
        self._sqs: SQSClient = session.client("sqs", endpoint_url=machine.endpoint, config=config)
        self._s3: S3Client = session.client("s3", endpoint_url=machine.endpoint, config=config)
        destination = source.failure_destination
        self._bucket = destination.removeprefix(BUCKET) if destination.startswith(BUCKET) else None
        self._mapping = str(uuid.uuid4())
        self._shard = ""
        self._iterator: str | None = None
        self._last: str | None = None  # sequence number of the last record that was read

    def check(self) -> None:
        self._stream.list_streams()
        if self._bucket:  # Lambda documents that it needs this permission, and not when
            self._s3.list_objects_v2(Bucket=self._bucket, MaxKeys=1)

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                records = self._read()
            except (BotoCoreError, ClientError) as error:
                self._iterator = None
                if not self._stopping.wait(1):
                    _log.warning("%s: %s", self._source.stream_arn, error)
                continue
            matching = [
                one for one in records if any(matches(pattern, one) for pattern in self._source.patterns)
            ]
            for batch in itertools.batched(matching, self._source.batch_size, strict=False):
                self._deliver(_Batch(batch))
            if len(records) < PAGE:
                self._stopping.wait(POLL_SECONDS)

    def _read(self) -> list[Record]:
        """Return the next records. This tells moto that all earlier records are processed."""
        if self._iterator is None:
            description = self._stream.describe_stream(StreamArn=self._source.stream_arn)["StreamDescription"]
            self._shard = description["Shards"][0]["ShardId"]
            where = (
                {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self._last}
                if self._last
                else {"ShardIteratorType": "TRIM_HORIZON"}
            )
            self._iterator = self._stream.get_shard_iterator(
                StreamArn=self._source.stream_arn, ShardId=self._shard, **where
            )["ShardIterator"]
        page = self._stream.get_records(ShardIterator=self._iterator, Limit=PAGE)
        records: list[Record] = page["Records"]
        self._iterator = page["NextShardIterator"]
        if records:
            self._last = records[-1]["dynamodb"]["SequenceNumber"]
        return records

    def _deliver(self, batch: _Batch) -> None:
        """Invoke the function until every record is processed or no retry is left."""
        waiting = [batch]  # the next one last
        while waiting and not self._stopping.is_set():
            batch = waiting.pop()
            done, function_error = self._invoke(batch.records)
            rest = batch.records[done:]
            tries = 0 if done else batch.tries + 1  # what follows a processed record is a new batch
            if self._stopping.is_set() or not rest:
                continue
            if function_error and self._source.bisects and len(rest) > 1:  # a split does not count as a retry
                half = len(rest) // 2
                waiting += [_Batch(rest[half:], batch.tries), _Batch(rest[:half], batch.tries)]
            elif tries <= self._source.maximum_retries:
                waiting.append(_Batch(rest, tries))
            else:
                self._give_up(_Batch(rest, tries), "Unhandled" if function_error else None)
                continue
            self._stopping.wait(min(0.2 * 2**batch.tries, LONGEST_BACKOFF))

    def _payload(self, records: tuple[Record, ...]) -> str:
        event = {"Records": [{**record, "eventSourceARN": self._source.stream_arn} for record in records]}
        return json.dumps(event, default=_plain)

    def _invoke(self, records: tuple[Record, ...]) -> tuple[int, bool]:
        """Return how many records were processed before the first failure, and whether the whole invocation failed."""
        payload = self._payload(records).encode()
        while (result := self._functions.invoke(self._source.function, payload)).function_error == THROTTLED:
            if self._stopping.wait(THROTTLED_SECONDS):
                break
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        failed = failures(numbers, result, reported=self._source.reports_batch_item_failures)
        done = next((i for i, number in enumerate(numbers) if number in failed), len(numbers))
        return done, result.function_error is not None

    def _give_up(self, batch: _Batch, function_error: str | None) -> None:
        """Report the failed batch to the destination that the template names.

        A queue gets only the place of the records in the stream. A bucket gets the whole event, too.
        https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
        """
        report = self._report(batch, function_error)
        while not self._stopping.is_set():
            try:
                if self._bucket:
                    self._store(self._bucket, {**report, "payload": self._payload(batch.records)})
                else:
                    queue = self._source.failure_destination
                    self._sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(report))
            except (BotoCoreError, ClientError) as error:
                _log.warning("%s: %s", self._source.failure_destination, error)
                self._stopping.wait(1)
            else:
                return

    def _store(self, bucket: str, report: dict[str, object]) -> None:
        now = datetime.now(UTC)
        name = f"{now:%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
        key = f"aws/lambda/{self._mapping}/{self._shard}/{now:%Y/%m/%d}/{name}"
        self._s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(report).encode())

    def _report(self, batch: _Batch, function_error: str | None) -> dict[str, object]:
        first, last = batch.records[0]["dynamodb"], batch.records[-1]["dynamodb"]
        machine = self._machine
        return {
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "functionArn": f"arn:aws:lambda:{machine.region}:{machine.account}:function:{self._source.function}",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": batch.tries,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": function_error,
            },
            "version": "1.0",
            "timestamp": datetime.now(UTC).isoformat(),
            "DDBStreamBatchInfo": {
                "shardId": self._shard,
                "startSequenceNumber": first["SequenceNumber"],
                "endSequenceNumber": last["SequenceNumber"],
                "approximateArrivalOfFirstRecord": first["ApproximateCreationDateTime"].isoformat(),
                "approximateArrivalOfLastRecord": last["ApproximateCreationDateTime"].isoformat(),
                "batchSize": len(batch.records),
                "streamArn": self._source.stream_arn,
            },
        }


def _plain(value: object) -> object:
    """Convert a value that JSON lacks, as Lambda does."""
    match value:
        case datetime():
            return int(value.timestamp())
        case bytes():
            return base64.b64encode(value).decode()
    raise TypeError(f"{type(value)} is not JSON")

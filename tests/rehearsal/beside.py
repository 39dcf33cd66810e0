"""MiniStack beside the local cloud's AWS server: `.venv/bin/python -m tests.rehearsal.beside`.

It prints the median time of each request that a job makes, on both, one after the other on the same machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from botocore.config import Config

from tests.localcloud import aws
from tests.rehearsal import ministack

TIMES = 200
PHOTO = bytes(200_000)


def measure(endpoint: str, key: str, secret: str) -> dict[str, float]:
    """Return the median milliseconds of each request."""
    session = boto3.Session(key, secret, region_name=ministack.REGION)
    config = Config(proxies={})
    s3 = session.client("s3", endpoint_url=endpoint, config=config)
    sqs = session.client("sqs", endpoint_url=endpoint, config=config)
    dynamodb = session.client("dynamodb", endpoint_url=endpoint, config=config)
    s3.create_bucket(Bucket="beside")
    queue = sqs.create_queue(QueueName="beside")["QueueUrl"]
    dynamodb.create_table(
        TableName="beside",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    item: dict[str, Any] = {"id": {"S": "a"}, "more": {"S": "x" * 2000}}
    requests: dict[str, Callable[[], Any]] = {
        "PutItem": lambda: dynamodb.put_item(TableName="beside", Item=item),
        "GetItem": lambda: dynamodb.get_item(TableName="beside", Key={"id": {"S": "a"}}),
        "TransactWriteItems": lambda: dynamodb.transact_write_items(
            TransactItems=[{"Put": {"TableName": "beside", "Item": item}}]
        ),
        "SendMessage": lambda: sqs.send_message(QueueUrl=queue, MessageBody="x"),
        "ReceiveMessage": lambda: sqs.receive_message(QueueUrl=queue),
        "PutObject": lambda: s3.put_object(Bucket="beside", Key="a", Body=PHOTO),
        "GetObject": lambda: bytes(s3.get_object(Bucket="beside", Key="a")["Body"].read()),
    }
    return {name: statistics.median(_times(request)) for name, request in requests.items()}


def _times(request: Callable[[], Any]) -> list[float]:
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        request()
        found.append(1000 * (time.perf_counter() - began))
    return found


def main() -> None:
    """Print a table."""
    server = aws.start()
    try:
        ours = measure(server.endpoint, aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY)
    finally:
        server.stop()
    with (
        TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder,
        ministack.running(Path(folder)) as cloud,
    ):
        theirs = measure(cloud.endpoint, "test", "test")
    for name, milliseconds in ours.items():
        ratio = theirs[name] / milliseconds
        sys.stdout.write(f"| {name} | {milliseconds:.1f} ms | {theirs[name]:.1f} ms | {ratio:.1f} |\n")


if __name__ == "__main__":
    main()

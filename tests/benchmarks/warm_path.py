"""What the handlers add to the requests that they must make, when nothing has to start.

The real handlers run in this process, over real HTTP to moto and to a Replicate that answers after a delay, each of
which is a process of its own. What is measured and its baseline take turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import httpx
from botocore.config import Config

from tests.benchmarks._report import Figure
from tests.benchmarks._world import World, world
from tests.integration.world import api_event, s3_notification, sqs_event
from tests.simulation.functions import CONTEXT, loaded
from triptych.signing_secret import signing_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

REPETITIONS = 31
SECONDS_OF_REPLICATE = (
    0.3,
    0.0,
)  # a create over the Internet takes some 0.3 s; at 0, all that is ours stands out
SIZES = (1_000_000, 20_000_000)  # bytes


def measure() -> Iterator[Figure]:
    with world() as found:
        for seconds in SECONDS_OF_REPLICATE:
            yield from _creates(found, seconds)
        for size in SIZES:
            yield from _copy(found, size)
        yield from _get(found)


def _creates(found: World, seconds: float) -> Iterator[Figure]:
    """From a message delivered to the third POST, against one POST alone through the same client settings."""
    generate = loaded("generate")
    found.replicate.set_delay(seconds)
    first, third, whole, alone = [], [], [], []
    client, url = _plain(), f"{found.replicate.url}/v1/predictions"
    body = {"version": "a/model", "input": {}, "webhook": "https://localhost/"}
    for _ in range(REPETITIONS):
        event = sqs_event(s3_notification(found.new_job().job_id))
        found.replicate.arrivals()
        began = time.monotonic()
        answer = generate.handler(event, CONTEXT)
        whole.append(time.monotonic() - began)
        if answer["batchItemFailures"]:
            raise RuntimeError("the photo was not taken")
        came = sorted(found.replicate.arrivals())
        first.append(came[0] - began)
        third.append(came[2] - began)
        alone.append(_timed(lambda: client.post(url, json=body).raise_for_status()))
    post = _ms(alone)
    about = f"Replicate takes {seconds:g} s"
    yield Figure(
        f"message to third POST sent, {about}", _ms(third), "ms", "one POST alone", post, at_most=1.3
    )
    yield Figure(f"message to all recorded, {about}", _ms(whole), "ms", "one POST alone", post)
    apart = statistics.median(b - a for a, b in zip(first, third, strict=True)) * 1000
    yield Figure(f"of that, first POST to third, {about}", apart, "ms", "one POST alone", post)


def _plain() -> httpx.Client:
    """A client as ours is: no connection is kept, and what TLS would need is loaded once."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)


def _copy(found: World, size: int) -> Iterator[Figure]:
    """From a webhook received to the job stored, against a bare copy of the same bytes to the same S3."""
    webhook = loaded("webhook")
    signing_secret()
    s3 = boto3.client("s3", config=Config(request_checksum_calculation="when_required"))
    bucket, client = found.bucket, _plain()

    def bare() -> None:
        """Stream it into a file, and the file to S3."""
        with tempfile.TemporaryFile() as file:
            with client.stream("GET", found.replicate.output_url(size)) as answer:
                for chunk in answer.iter_raw():
                    file.write(chunk)
            file.seek(0)
            s3.put_object(Bucket=bucket, Key="bare.png", Body=file)

    found.replicate.set_delay(0)
    ours, theirs = [], []
    for _ in range(REPETITIONS):
        event = found.webhook(found.asked_job(), size)
        ours.append(_timed(partial(_ok, webhook, event)))
        theirs.append(_timed(bare))
    yield Figure(
        f"webhook to job stored, {size // 1_000_000} MB",
        _ms(ours),
        "ms",
        "a bare copy",
        _ms(theirs),
        at_most=1.5,
    )


def _get(found: World) -> Iterator[Figure]:
    """`GET job` with three links in it, against one GetItem."""
    api, dynamodb = loaded("api"), boto3.client("dynamodb")
    job_id = found.done_job().job_id
    event = api_event("GET", f"/api/v1/jobs/{job_id}")
    key = {"job_id": {"S": job_id}}
    table = found.stack.outputs["Table"]
    ours, theirs = [], []
    for _ in range(10 * REPETITIONS):
        ours.append(_timed(partial(_ok, api, event)))
        theirs.append(_timed(lambda: dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)))
    yield Figure("GET job", _ms(ours), "ms", "one GetItem", _ms(theirs), at_most=1.5)


def _timed(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def _ok(function: ModuleType, event: dict[str, Any]) -> None:
    answer = function.handler(event, CONTEXT)
    if answer["statusCode"] != 200:
        raise RuntimeError(str(answer))


def _ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000

"""The time that warm handlers add to their necessary requests.

The real handlers run in this process. They send real HTTP requests to moto and to a stand-in for Replicate that answers
after a delay, each in its own process. Measurements and baselines alternate.

Each goal compares with one request. A second baseline, the floor, is all necessary requests. Plain clients send them
one after the other, without checks, decisions, signatures or logs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import httpx
from botocore.config import Config

from tests.benchmarks._report import Figure
from tests.benchmarks._world import World, ok, timed, world
from tests.simulation.functions import loaded
from tests.support.events import CONTEXT, api_event, s3_notification, sqs_event
from tests.support.function_environment import TOKEN
from triptych.aws import links
from triptych.replicate.webhooks import signing_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

REPETITIONS = 31
SECONDS_OF_REPLICATE = (
    0.3,
    0.0,
)  # a create request over the Internet takes some 0.3 s; 0 shows only the handlers' own time
SIZES = (1_000_000, 20_000_000)  # bytes


def measure() -> Iterator[Figure]:
    with world() as found:
        bare = _Bare(found)
        for seconds in SECONDS_OF_REPLICATE:
            yield from _creates(found, bare, seconds)
        for size in SIZES:
            yield from _copy(found, bare, size)
        yield from _get(found, bare)


class _Bare:
    """The requests of a job, sent by plain clients."""

    def __init__(self, found: World) -> None:
        self._found = found
        self._s3 = boto3.client("s3", config=Config(request_checksum_calculation="when_required"))
        self._signing = boto3.client("s3", config=Config(signature_version="s3v4"))
        self._dynamodb = boto3.client("dynamodb")
        # As in the layer: no connection is kept, and the TLS trust store is loaded once.
        self._http = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)
        self._pool = ThreadPoolExecutor(3)
        self._job = found.done_job()
        self._item = self.read_job()

    def read_job(self) -> dict[str, Any]:
        key = {"job_id": {"S": self._job.job_id}}
        answer = self._dynamodb.get_item(
            TableName=self._found.stack.outputs["Table"], Key=key, ConsistentRead=True
        )
        return answer["Item"]

    def write_job(self) -> None:
        self._dynamodb.put_item(
            TableName=self._found.stack.outputs["Table"],
            Item=self._item,
            ConditionExpression="version = :read",
            ExpressionAttributeValues={":read": self._item["version"]},
        )

    def read_photo(self) -> None:
        self._s3.get_object(Bucket=self._found.bucket, Key=self._job.photo.key)["Body"].read()

    def post(self, _: int = 0) -> None:
        photo = {"prompt": "a", "input_image": "https://localhost/photo.jpg"}
        body = {"version": "black-forest-labs/flux-kontext-pro", "input": photo}
        headers = {"authorization": f"Bearer {TOKEN}"}
        url = f"{self._found.replicate.url}/v1/predictions"
        self._http.post(url, json=body, headers=headers).raise_for_status()

    def ask(self) -> None:
        """Send the necessary requests up to three creates."""
        self.read_job()
        self.read_photo()
        self.write_job()
        list(self._pool.map(self.post, range(3)))

    def show(self) -> None:
        """Send the necessary request for a job and presign its eleven URLs."""
        self.read_job()
        outputs = [image.output.key for image in self._job.images if image.output]
        # Of an output: to show, to download, and its preview. Of the photo: the same without the download.
        for key in (*outputs, *outputs, *outputs, self._job.photo.key, self._job.photo.key):
            where = {"Bucket": self._found.bucket, "Key": key}
            self._signing.generate_presigned_url("get_object", Params=where)

    def copy(self, size: int) -> None:
        """Stream an output into a file, and the file to S3."""
        with tempfile.TemporaryFile() as file:
            with self._http.stream("GET", self._found.replicate.output_url(size)) as answer:
                for chunk in answer.iter_raw():
                    file.write(chunk)
            file.seek(0)
            self._s3.put_object(Bucket=self._found.bucket, Key="bare.png", Body=file)

    def store(self, size: int) -> None:
        """Send the necessary requests until an output is recorded."""
        self.read_job()
        self.copy(size)
        self.write_job()


def _creates(found: World, bare: _Bare, seconds: float) -> Iterator[Figure]:
    """Measure from a message's delivery to the third POST, against one POST and against the floor."""
    generate = loaded("generate")
    found.replicate.set_delay(seconds)
    first, third, whole, alone, floor = [], [], [], [], []
    for _ in range(REPETITIONS):
        event = sqs_event(s3_notification(found.new_job().job_id))
        found.replicate.arrivals()
        began = time.monotonic()
        answer = generate.handler(event, CONTEXT)
        whole.append(time.monotonic() - began)
        if answer["batchItemFailures"]:
            raise RuntimeError("generate did not accept the photo")
        arrivals = sorted(found.replicate.arrivals())
        first.append(arrivals[0] - began)
        third.append(arrivals[2] - began)
        alone.append(timed(bare.post))
        found.replicate.arrivals()
        began = time.monotonic()
        bare.ask()
        floor.append(max(found.replicate.arrivals()) - began)
    post = _ms(alone)
    about = f"Replicate takes {seconds:g} s"
    yield Figure(
        f"message to third POST sent, {about}", _ms(third), "ms", "one POST alone", post, at_most=1.3
    )
    yield Figure(
        f"message to third POST sent, {about}, over its floor",
        _ms(third),
        "ms",
        "the necessary requests",
        _ms(floor),
        at_most=1.5,
    )
    yield Figure(f"message to all recorded, {about}", _ms(whole), "ms", "one POST alone", post, at_most=1.3)
    apart = statistics.median(b - a for a, b in zip(first, third, strict=True)) * 1000
    yield Figure(f"of that, first POST to third, {about}", apart, "ms", "one POST alone", post)


def _copy(found: World, bare: _Bare, size: int) -> Iterator[Figure]:
    """Measure from a webhook to the stored job, against a bare copy of the same bytes and against the floor."""
    webhook = loaded("webhook")
    signing_secret()
    found.replicate.set_delay(0)
    ours, copy, floor = [], [], []
    for _ in range(REPETITIONS):
        event = found.webhook(found.asked_job(), size)
        ours.append(timed(partial(ok, webhook, event)))
        copy.append(timed(partial(bare.copy, size)))
        floor.append(timed(partial(bare.store, size)))
    name, value = f"webhook to job stored, {size // 1_000_000} MB", _ms(ours)
    yield Figure(name, value, "ms", "a bare copy", _ms(copy), at_most=1.5)
    yield Figure(f"{name}, over its floor", value, "ms", "the necessary requests", _ms(floor), at_most=1.5)


def _get(found: World, bare: _Bare) -> Iterator[Figure]:
    """Measure `GET` of a job with its URLs, against one GetItem and against the floor.

    The first answer signs all URLs. Those that follow take them from the process's cache.
    """
    api = loaded("api")
    event = api_event("GET", f"/api/v1/jobs/{found.done_job().job_id}")
    first, again, theirs, floor = [], [], [], []
    for _ in range(10 * REPETITIONS):
        links.presigned.cache_clear()
        first.append(timed(partial(ok, api, event)))
        again.append(timed(partial(ok, api, event)))
        theirs.append(timed(bare.read_job))
        floor.append(timed(bare.show))
    for name, times in (("", first), (", shown before", again)):
        value = _ms(times)
        yield Figure(f"GET job{name}", value, "ms", "one GetItem", _ms(theirs), at_most=1.5)
        yield Figure(
            f"GET job{name}, over its floor", value, "ms", "GetItem, its URLs", _ms(floor), at_most=1.5
        )


def _ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000

"""How many `GET`s of a job two cores answer in a second, and what a page of 100 jobs costs beside its one Query.

DynamoDB's recorded answer is handed to botocore in place of a request, so that neither moto nor the network takes a
share. For the `GET`s, two processes answer at the same time. How long clients wait is computed: as if 16 clients asked each
process in turn, and each asked again at once.

A first answer signs all presigned URLs of its jobs. Those that follow take them from the process's cache.
"""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.httpsession import URLLib3Session

from tests.benchmarks._report import Figure, percentile
from tests.benchmarks._world import World, ok, timed, world
from tests.simulation.functions import loaded
from tests.support.events import api_event
from triptych.aws import links, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from triptych.job import Image, Job

PROCESSES, CLIENTS = 2, 16
SECONDS = 8.0  # of answers in each process, on each side
WARM = 20
LISTED = 100


def measure() -> Iterator[Figure]:
    with world() as found:
        yield from _gets(found)
        yield from _page(found)


def _gets(found: World) -> Iterator[Figure]:
    job = found.done_job()
    recorded = _recorded(partial(table.get, job.job_id))
    key = {"job_id": {"S": job.job_id}}
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:

        def both(serve: Callable[..., list[float]], *arguments: object) -> list[list[float]]:
            return [
                one.result() for one in [pool.submit(serve, recorded, *arguments) for _ in range(PROCESSES)]
            ]

        both(_get_items, found.stack.outputs["Table"], key, 0.1)  # the processes have started
        bare = both(_get_items, found.stack.outputs["Table"], key, SECONDS)
        path = f"/api/v1/jobs/{job.job_id}"
        first, again = (both(_get_jobs, path, SECONDS, clear) for clear in (True, False))
    rates = [sum(len(one) / sum(one) for one in side) for side in (again, bare)]
    yield Figure("GETs a second, two processes", rates[0], "/s", "GetItems of plain boto3", rates[1])
    waits = [wait for one in again for wait in _waits(one)]
    worst = percentile(waits, 99) * 1000
    yield Figure(f"p99 of {PROCESSES * CLIENTS} clients who always ask, computed", worst, "ms", at_most=100)
    alone = statistics.median(itertools.chain(*bare)) * 1000
    for name, side in (("first", first), ("shown before", again)):
        value = statistics.median(itertools.chain(*side)) * 1000
        yield Figure(
            f"GET job, {name}, without moto", value, "ms", "GetItem of plain boto3", alone, at_most=1.5
        )


def _waits(times: list[float]) -> list[float]:
    """Return how long each client waited, if each of them asks again at once, and has its turn."""
    return [sum(times[end - CLIENTS : end]) for end in range(CLIENTS, len(times))]


def _page(found: World) -> Iterator[Figure]:
    job = found.done_job()
    with table._Job.batch_write() as batch:
        for number in range(LISTED):
            batch.save(table.to_record(_listed(job, f"00000000-0000-4000-8000-{number:012x}")))
    client = boto3.client("dynamodb")
    query = partial(
        client.query,
        TableName=found.stack.outputs["Table"],
        IndexName="by-owner",
        KeyConditionExpression="#owner = :owner",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":owner": {"S": "lister"}},
        ScanIndexForward=False,
        Limit=LISTED,
    )
    recorded = _recorded(query)
    list_jobs = partial(ok, loaded("api"), api_event("GET", f"/api/v1/jobs?limit={LISTED}", owner="lister"))
    alone = statistics.median(_served(recorded, query, SECONDS)) * 1000
    for name, clear in (("first", True), ("shown before", False)):
        value = statistics.median(_served(recorded, list_jobs, SECONDS, clear=clear)) * 1000
        yield Figure(
            f"page of {LISTED} jobs, {name}, without moto", value, "ms", "its Query alone", alone, at_most=3
        )


def _listed(job: Job, job_id: str) -> Job:
    """Return a copy of the job with another id, and with a photo and outputs of its own."""

    def moved(image: Image) -> Image:
        assert image.output
        return replace(image, output=replace(image.output, key=f"outputs/{job_id}/{image.index}.png"))

    photo = replace(job.photo, key=f"uploads/{job_id}/photo.jpg")
    return replace(job, job_id=job_id, owner="lister", photo=photo, images=tuple(map(moved, job.images)))


class _Body:
    """An answer's body, as urllib3 hands it to botocore."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._content


type _Recorded = tuple[dict[str, str], bytes]  # an answer's headers and body


def _recorded(read: Callable[[], object]) -> _Recorded:
    """Send a request to moto; return the answer."""
    answers: list[AWSResponse] = []
    send = URLLib3Session.send

    def sent(session: URLLib3Session, request: Any) -> AWSResponse:
        answers.append(send(session, request))
        return answers[-1]

    with patch.object(URLLib3Session, "send", sent):
        read()
    (answer,) = answers
    return dict(answer.headers), answer.content


def _get_items(recorded: _Recorded, name: str, key: dict[str, Any], seconds: float) -> list[float]:
    client = boto3.client("dynamodb")
    return _served(recorded, partial(client.get_item, TableName=name, Key=key, ConsistentRead=True), seconds)


def _get_jobs(recorded: _Recorded, path: str, seconds: float, clear: bool) -> list[float]:  # noqa: FBT001  # a pool's call
    return _served(recorded, partial(ok, loaded("api"), api_event("GET", path)), seconds, clear=clear)


def _served(
    recorded: _Recorded, answer: Callable[[], object], seconds: float, *, clear: bool = False
) -> list[float]:
    """Answer for so many seconds; return the time of each answer.

    Args:
        recorded: DynamoDB's answer.
        answer: What to measure.
        seconds: Seconds.
        clear: Forget all presigned URLs before each answer.
    """
    headers, content = recorded

    def send(_: URLLib3Session, request: Any) -> AWSResponse:
        return AWSResponse(request.url, 200, HeadersDict(headers), _Body(content))  # type: ignore[arg-type]  # botocore itself gives a HeadersDict

    times: list[float] = []
    with patch.object(URLLib3Session, "send", send):
        for _ in range(WARM):
            answer()
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            if clear:
                links.presigned.cache_clear()
            times.append(timed(answer))
    return times

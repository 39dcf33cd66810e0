"""Cold starts: from the start of a function's process, under Amazon's client, to its first answer.

Each function is started anew for each repetition, the floor among them. The floor imports boto3, makes one client,
and answers.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks._report import Figure
from tests.benchmarks._world import World, world
from tests.integration.world import api_event, s3_notification, sqs_event
from tests.localcloud.functions import Functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.localcloud.stack import Function

REPETITIONS = 9
GOAL = 1.3
FLOOR = """
import boto3
client = boto3.client("dynamodb")
def handler(event, context):
    return {}
"""


@dataclass(frozen=True)
class Start:
    """What is started, and the event that it is then given."""

    name: str
    function: str
    event: Callable[[World], dict[str, Any]]


def _order(_: World) -> dict[str, Any]:
    return api_event("POST", "/api/v1/jobs", {"content_type": "image/jpeg", "content_length": 48211})


def _uploaded(found: World) -> dict[str, Any]:
    return sqs_event(s3_notification(found.new_job().job_id))


def _look(found: World) -> dict[str, Any]:
    job = found.done_job()
    return sqs_event({"job_id": job.job_id, "born_at": job.created_at.isoformat()})


THE_FLOOR = Start("floor", "", lambda _: {})
STARTS = (
    THE_FLOOR,
    Start("api, a new job", "api", _order),
    Start(
        "api, a job with its pictures",
        "api",
        lambda found: api_event("GET", f"/api/v1/jobs/{found.done_job().job_id}"),
    ),
    Start("generate, a photo", "generate", _uploaded),
    Start("webhook, a picture of 1 MB", "webhook", lambda found: found.webhook(found.asked_job(), 1_000_000)),
    Start("watchdog, a job that has ended", "watchdog", _look),
    Start("announce, a job's end", "announce", lambda found: found.stream_record(found.done_job())),
    Start("page", "page", lambda _: {**api_event("GET", "/"), "rawPath": "/"}),
)


def measure() -> Iterator[Figure]:
    inits: dict[str, list[float]] = defaultdict(list)
    firsts: dict[str, list[float]] = defaultdict(list)
    with world() as found, tempfile.TemporaryDirectory() as folder:
        Path(folder, "floor.py").write_text(FLOOR)
        floor = replace(found.function("announce"), code=Path(folder), handler="floor.handler")
        for _ in range(REPETITIONS):
            for start in STARTS:
                function = floor if start is THE_FLOOR else found.function(start.function)
                init, first = _cold(function, start.event(found), found)
                inits[start.name].append(init)
                firsts[start.name].append(first)
    for what, times in (("init", inits), ("first answer", firsts)):
        floor_ms = statistics.median(times.pop("floor"))
        for name, each in times.items():
            yield Figure(
                f"{name}: {what}",
                statistics.median(each),
                "ms",
                f"the floor's {what}",
                floor_ms,
                at_most=GOAL,
            )


def _cold(function: Function, event: dict[str, Any], found: World) -> tuple[float, float]:
    """How long init, and how long all took until the answer, in ms."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        begin = time.monotonic()
        machines = {function.name: found.machine}
        with Functions({function.name: function}, machines, workers=1, log=Path(log.name)) as functions:
            result = functions.invoke(function.name, json.dumps(event).encode())
            first = (time.monotonic() - begin) * 1000
        lines = Path(log.name).read_text()
    init = re.search(r"Init Duration: ([0-9.]+) ms", lines)
    if result.function_error or not init or b'"batchItemFailures":[{' in result.payload:
        raise RuntimeError(f"{function.name}: {result.payload.decode()}\n{lines}")
    status = json.loads(result.payload).get("statusCode", 200)
    if status >= 300:
        raise RuntimeError(f"{function.name}: {status}\n{lines}")
    return float(init[1]), first

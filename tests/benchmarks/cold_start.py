"""Cold starts: from the start of a function's process, under Amazon's client, to its first answer.

Each repetition starts every function and two floors. A floor imports boto3, makes one client and answers. One floor has
boto3 as pip installs it, which the goals compare with. The other has the layer's trimmed botocore. A floor sends no
request, so the time that a function waits for the stand-ins of AWS and Replicate is a figure of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks._report import Figure
from tests.benchmarks._world import World, world
from tests.environment import ROOT
from tests.localcloud.functions import Functions
from tests.support.events import api_event, s3_notification, sqs_event

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
# A handler that wraps another and prints two times in seconds: how long any thread waited for the network, and the CPU
# time of the process since its start.
MEASURED = """
import socket, sys, threading, time
from MODULE import handler as answer

lock, threads, since, waited = threading.Lock(), 0, 0.0, 0.0

def timed(method):
    def call(*args, **kwargs):
        global threads, since, waited
        with lock:
            since = since if threads else time.perf_counter()
            threads += 1
        try:
            return method(*args, **kwargs)
        finally:
            with lock:
                threads -= 1
                waited += 0 if threads else time.perf_counter() - since
    return call

for name in ("connect", "recv", "recv_into"):
    setattr(socket.socket, name, timed(getattr(socket.socket, name)))
if "urllib3" in sys.modules:
    urllib3 = sys.modules["urllib3"]
    urllib3.util.wait_for_read = timed(urllib3.util.wait_for_read)  # botocore waits here for "100 Continue"

def handler(event, context):
    result = answer(event, context)
    print(f"MEASURED {waited} {time.process_time()}")
    return result
"""


@dataclass(frozen=True)
class Start:
    """A function to start, and its first event."""

    name: str
    function: str
    event: Callable[[World], dict[str, Any]]


def _create(_: World) -> dict[str, Any]:
    return api_event("POST", "/api/v1/jobs", {"content_type": "image/jpeg", "content_length": 48211})


def _uploaded(found: World) -> dict[str, Any]:
    return sqs_event(s3_notification(found.new_job().job_id))


def _look(found: World) -> dict[str, Any]:
    job = found.done_job()
    return sqs_event({"job_id": job.job_id, "born_at": job.created_at.isoformat()})


FLOORS = (Start("boto3", "", lambda _: {}), Start("trimmed boto3", "", lambda _: {}))
STARTS = (
    *FLOORS,
    Start("api, a new job", "api", _create),
    Start(
        "api, a job with its images",
        "api",
        lambda found: api_event("GET", f"/api/v1/jobs/{found.done_job().job_id}"),
    ),
    Start("generate, a photo", "generate", _uploaded),
    Start("webhook, an output of 1 MB", "webhook", lambda found: found.webhook(found.asked_job(), 1_000_000)),
    Start("watchdog, a job that has ended", "watchdog", _look),
    Start("announce, a job's end", "announce", lambda found: found.stream_record(found.done_job())),
    Start("page", "page", lambda _: {**api_event("GET", "/"), "rawPath": "/"}),
)


@dataclass(frozen=True)
class Cold:
    """One cold start, in ms."""

    init: float
    first: float  # from the start of the process to the answer
    waited: float  # part of `first`: waiting for the network
    cpu: float  # CPU time of the process


def measure() -> Iterator[Figure]:
    starts: dict[str, list[Cold]] = defaultdict(list)
    with world() as stack, tempfile.TemporaryDirectory() as folder:
        functions = {start.name: _measured(start, stack, Path(folder)) for start in STARTS}
        for _ in range(REPETITIONS):
            for start in STARTS:
                starts[start.name].append(_cold(functions[start.name], start.event(stack), stack))
    floor, trimmed = (starts.pop(start.name) for start in FLOORS)
    for name, each in starts.items():
        first, plain = _median(each, "first"), _median(floor, "first")
        yield Figure(f"{name}: first answer", first, "ms", "boto3, one client", plain, at_most=GOAL)
    for name, each in starts.items():
        first, least = _median(each, "first"), _median(trimmed, "first")
        yield Figure(f"{name}: first answer, again", first, "ms", "the layer's boto3, one client", least)
    for what, called in (("init", "init"), ("cpu", "CPU")):
        for name, each in starts.items():
            found, least = _median(each, what), _median(floor, what)
            yield Figure(f"{name}: {called}", found, "ms", f"boto3, one client: {called}", least)
    for name, each in starts.items():
        waited, first = _median(each, "waited"), _median(each, "first")
        yield Figure(f"{name}: waiting for the stand-ins", waited, "ms", "its first answer", first)


def _median(starts: list[Cold], what: str) -> float:
    values: list[float] = [getattr(start, what) for start in starts]
    return statistics.median(values)


def _measured(start: Start, found: World, folder: Path) -> Function:
    """Return the function, or a floor, with a handler that measures."""
    if start in FLOORS:
        floor, plain = folder / "floor", folder / "boto3"
        floor.mkdir(exist_ok=True)
        (floor / "floor.py").write_text(FLOOR)
        plain.mkdir(exist_ok=True)
        shutil.copy(
            ROOT / "layers/dependencies/requirements.txt", plain
        )  # without trim.py, so that boto3 stays untrimmed
        function = replace(found.function("announce"), code=floor, handler="floor.handler")
        if start is FLOORS[0]:
            function = replace(function, layers=(plain,))
    else:
        function = found.function(start.function)
    code = folder / f"measured {start.name}"
    code.mkdir()
    (code / "measured.py").write_text(MEASURED.replace("MODULE", function.handler.partition(".")[0]))
    return replace(function, code=code, handler="measured.handler", layers=(*function.layers, function.code))


def _cold(function: Function, event: dict[str, Any], found: World) -> Cold:
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        begin = time.monotonic()
        machines = {function.name: found.machine}
        with Functions({function.name: function}, machines, workers=1, log=Path(log.name)) as functions:
            result = functions.invoke(function.name, json.dumps(event).encode())
            first = (time.monotonic() - begin) * 1000
        lines = Path(log.name).read_text()
    init = re.search(r"Init Duration: ([0-9.]+) ms", lines)
    measured = re.search(r"^MEASURED (\S+) (\S+)$", lines, re.MULTILINE)
    if result.function_error or not init or not measured or b'"batchItemFailures":[{' in result.payload:
        raise RuntimeError(f"{function.name}: {result.payload.decode()}\n{lines}")
    status = json.loads(result.payload).get("statusCode", 200)
    if status >= 300:
        raise RuntimeError(f"{function.name}: {status}\n{lines}")
    return Cold(float(init[1]), first, float(measured[1]) * 1000, float(measured[2]) * 1000)

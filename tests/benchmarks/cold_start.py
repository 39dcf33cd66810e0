"""Cold starts: from the start of a function's process, under Amazon's client, to its first answer.

Each round starts every function soon after its floors, and has a ratio of its own: so other load of the machine changes
both sides. A figure is the median of these ratios. The floor of a function (`_floors`) imports the packages that the
function is made of, makes its clients and answers. Two more floors, the same for all functions, import boto3, make one
client and answer. One of them has boto3 as pip installs it, the other the layer's trimmed botocore. A floor sends no
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

from tests.benchmarks import _floors
from tests.benchmarks._report import Figure
from tests.benchmarks._world import World, world
from tests.environment import ROOT
from tests.localcloud.functions import Functions
from tests.support.events import api_event, s3_notification, sqs_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.localcloud.stack import Function

ROUNDS = 15
GOAL = 1.3  # of boto3
# Of a function's own floor, for the time and the CPU time. Other load of the machine changes CPU time less.
OWN_GOAL = 1.1
FLOOR = """
import boto3
client = boto3.client("dynamodb")
def handler(event, context):
    return {}
"""
# A handler that wraps another and prints two times in seconds: how long any thread waited for the network, and the CPU
# time of the process since its start, with that of its children.
MEASURED = """
import os, socket, sys, threading, time
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
    times = os.times()
    children = times.children_user + times.children_system
    print(f"MEASURED {waited} {time.process_time() + children}")
    return result
"""


@dataclass(frozen=True)
class Start:
    """A function to start, and its first event."""

    name: str
    function: str
    event: Callable[[World], dict[str, Any]]
    floor: str = ""  # the code of a floor, which takes the function's place


def _create(_: World) -> dict[str, Any]:
    return api_event("POST", "/api/v1/jobs", {"content_type": "image/jpeg", "content_length": 48211})


def _uploaded(found: World) -> dict[str, Any]:
    return sqs_event(s3_notification(found.new_job().job_id))


def _look(found: World) -> dict[str, Any]:
    job = found.done_job()
    return sqs_event({"job_id": job.job_id, "born_at": job.created_at.isoformat()})


def _end(found: World) -> dict[str, Any]:
    message = {
        "url": found.replicate.callback_url,
        "owner": "ann",
        "job_id": "j",
        "webhook_id": "j-1",
        "body": "{}",
    }
    return sqs_event(message)


def _floor(name: str, function: str, floor: str) -> Start:
    return Start(name, function, lambda _: {}, floor)


BOTO3, TRIMMED = _floor("boto3", "announce", FLOOR), _floor("trimmed boto3", "announce", FLOOR)
FLOORS = {name: _floor(f"the floor of {name}", name, code) for name, code in _floors.FLOORS.items()}
STARTS = (
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
    Start("callback, a delivery", "callback", _end),
    Start("page", "page", lambda _: {**api_event("GET", "/"), "rawPath": "/"}),
)


@dataclass(frozen=True)
class Cold:
    """One cold start, in ms."""

    init: float
    first: float  # from the start of the process to the answer
    waited: float  # part of `first`: waiting for the network
    cpu: float  # CPU time of the process and its children


@dataclass(frozen=True)
class Comparison:
    """A time of each function, beside that of a floor in the same round."""

    name: str
    time: str  # the field of Cold
    floor: Callable[[Start], Start]
    floor_time: str = ""  # empty: the same field
    at_most: float | None = None


COMPARISONS = (
    Comparison("first answer", "first", lambda start: FLOORS[start.function], at_most=OWN_GOAL),
    Comparison("CPU", "cpu", lambda start: FLOORS[start.function], at_most=OWN_GOAL),
    Comparison("first answer, against boto3", "first", lambda _: BOTO3, at_most=GOAL),
    Comparison("init, against boto3", "init", lambda _: BOTO3),
    Comparison("CPU, against boto3", "cpu", lambda _: BOTO3),
    Comparison("first answer, against trimmed boto3", "first", lambda _: TRIMMED),
    Comparison("waiting for the stand-ins", "waited", lambda start: start, "first"),
)


def measure() -> Iterator[Figure]:
    starts: dict[str, list[Cold]] = defaultdict(list)
    every = dict.fromkeys(one for start in STARTS for one in (BOTO3, TRIMMED, FLOORS[start.function], start))
    with world(AllowedCallbackHosts="127.0.0.1") as stack, tempfile.TemporaryDirectory() as folder:
        functions = {start.name: _measured(start, stack, Path(folder)) for start in every}
        for _ in range(ROUNDS):
            for start in every:
                starts[start.name].append(_cold(functions[start.name], start.event(stack), stack))
    for compared in COMPARISONS:
        for start in STARTS:
            floor = compared.floor(start)
            found = _times(starts[start.name], compared.time)
            least = _times(starts[floor.name], compared.floor_time or compared.time)
            yield Figure(
                f"{start.name}: {compared.name}",
                statistics.median(found),
                "ms",
                floor.name if floor is not start else "its first answer",
                statistics.median(least),
                at_most=compared.at_most,
                ratios=tuple(one / other for one, other in zip(found, least, strict=True)),
            )


def _times(starts: list[Cold], what: str) -> list[float]:
    return [getattr(start, what) for start in starts]


def _measured(start: Start, found: World, folder: Path) -> Function:
    """Return the function, or its floor, with a handler that measures."""
    function = found.function(start.function)
    if start.floor:
        floor = folder / start.name
        floor.mkdir()
        (floor / "floor.py").write_text(start.floor)
        function = replace(function, code=floor, handler="floor.handler")
    if start is BOTO3:
        plain = folder / "packages"
        plain.mkdir()
        # Without trim.py, so that boto3 stays untrimmed.
        shutil.copy(ROOT / "layers/dependencies/requirements.txt", plain)
        function = replace(function, layers=(plain,))
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

"""Where the CPU time of a job goes: the three largest parts, each beside the whole.

The handlers run whole jobs in this process, against moto and a stand-in for Replicate in processes of their own. A timer
looks again and again which module of our own runs, by itself or in a library that it called. Child processes, which
open photos and outputs, are a part of their own. Threads run one after the other, because the timer sees only the main
thread.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.benchmarks._report import Figure
from tests.benchmarks._world import PHOTO, World, world
from tests.environment import ROOT
from tests.simulation.functions import loaded
from tests.support.events import CONTEXT, api_event, s3_notification, sqs_event
from triptych.runtime import budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType, ModuleType

JOBS = 40  # counted jobs, after one that warms up
OUTPUT = 1_000_000  # bytes
TICK = 0.004  # seconds of CPU time; the kernel's clock is no finer
LARGEST = 3
OWN = (f"{ROOT}/layers/triptych/triptych/", f"{ROOT}/functions/")
CHILDREN, AROUND = "child processes that open photos and outputs", "powertools around the handlers"
FUNCTIONS = ("api", "generate", "webhook", "watchdog", "announce")
ORDER = {"content_type": "image/jpeg", "content_length": len(PHOTO)}


def measure() -> Iterator[Figure]:
    functions = {name: loaded(name) for name in FUNCTIONS}
    with world() as found, patch.object(budget, "run_in_threads", _one_by_one):
        _job(found, functions, Profile().invoke)
        profile = Profile()
        before = signal.signal(signal.SIGPROF, profile.look)
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
        try:
            for _ in range(JOBS):
                _job(found, functions, profile.invoke)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
    parts = profile.parts()
    whole = parts.total() / JOBS
    yield Figure("CPU of a job", whole, "ms")
    for name, milliseconds in parts.most_common(LARGEST):
        yield Figure(name, milliseconds / JOBS, "ms", "CPU of a job", whole)


class Profile:
    """The CPU time of handlers, by module."""

    def __init__(self) -> None:
        self._inside = False
        self._seen: Counter[str] = Counter()
        self._seconds = self._children = 0.0

    def invoke(self, function: ModuleType, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function.

        Raises:
            RuntimeError: It fails.
        """
        before, children = time.process_time(), _children()
        self._inside = True
        answer: dict[str, Any] = function.handler(event, CONTEXT)
        self._inside = False
        self._seconds += time.process_time() - before
        self._children += _children() - children
        if answer.get("batchItemFailures") or answer.get("statusCode", 200) >= 300:
            raise RuntimeError(f"{function.__name__}: {answer}")
        return answer

    def look(self, _signal: int, frame: FrameType | None) -> None:
        """Count the module that runs now."""
        if self._inside:
            self._seen[module_of(frame)] += 1

    def parts(self) -> Counter[str]:
        """Return the milliseconds of each part."""
        each = self._seconds * 1000 / self._seen.total()
        seen = {name: round(times * each) for name, times in self._seen.items()}
        return Counter({CHILDREN: round(self._children * 1000), **seen})


def module_of(frame: FrameType | None) -> str:
    """Return the innermost module of our own in this stack."""
    while frame:
        for folder in OWN:
            if frame.f_code.co_filename.startswith(folder):
                return frame.f_code.co_filename.removeprefix(folder)
        frame = frame.f_back
    return AROUND


def _job(
    found: World, functions: dict[str, ModuleType], invoke: Callable[[ModuleType, dict[str, Any]], Any]
) -> None:
    """Run a job from its creation to the announcement of its end."""
    created = invoke(functions["api"], api_event("POST", "/api/v1/jobs", ORDER))
    job = found.job(json.loads(created["body"])["job_id"])
    found.upload(job)
    invoke(functions["generate"], sqs_event(s3_notification(job.job_id)))
    for image in job.images:
        event = found.webhook(found.job(job.job_id), OUTPUT, image.index)
        invoke(functions["webhook"], event)
    look = {"job_id": job.job_id, "born_at": job.created_at.isoformat()}
    invoke(functions["watchdog"], sqs_event(look))
    invoke(functions["announce"], found.stream_record(job))


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _one_by_one[T](tasks: Sequence[Callable[[], T]], _seconds: float) -> list[T | None]:
    return [task() for task in tasks]

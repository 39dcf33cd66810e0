"""What a client waits for: from the upload to the first create request, and from Replicate's end to the seen success.

In real time, jobs run one after another on the idle local cloud and on the Celery task that Triptych replaces. A
prediction takes about 0.3 s. A client asks as soon as the job has ended. For Celery the photo exists already, and the
upload is the request that starts the task. `WAITING_JOBS=50` before the command takes fewer jobs.

The bad days are on virtual time, where a prediction takes 3 to 40 s. A tenth of the webhooks is lost, or a tenth of the
create requests gets no answer, or a process is killed every ten seconds. On the last one, few jobs decide the figure for 99
in 100, so it has several runs.

Real time needs redis-server for Celery (`apt-get install redis-server`).
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING

from tests.benchmarks import _sides
from tests.benchmarks._losses import job_of
from tests.benchmarks._report import Figure, percentile
from tests.simulation.days import day
from tests.simulation.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.localcloud.replicate_predictions import Entry

JOBS = int(os.environ.get("WAITING_JOBS", "500"))
SECONDS = 0.3  # of a prediction in real time, about
POLL = 0.005
PATIENCE = 60.0
PARTS = ("upload to first POST", "Replicate's end to success seen", "upload to success seen")
IN_A_HUNDRED = (50, 95, 99)

VIRTUAL_JOBS = 500


@dataclass(frozen=True)
class Day:
    """A day with one kind of fault, and its goals."""

    name: str
    faults: Callable[[Random], Faults]
    seconds: float  # 99 in 100 jobs take no longer
    looks: float  # of the watchdog at a job that has ended; a look whose process is killed is repeated
    kill_every: float | None = None
    runs: int = 1


DAYS = (
    Day("a tenth of the webhooks lost", lambda random: Faults(random, {"webhook_dropped": 0.1}), 75, 1),
    Day(
        "a tenth of the answers cut",
        lambda random: Faults(random, {"create_cut_before": 0.05, "create_cut_after": 0.05}),
        150,
        1,
    ),
    Day("a process killed every ten seconds", Faults, 150, 1.1, kill_every=10, runs=20),
)


def measure() -> Iterator[Figure]:
    yield from _days()
    _sides.redis_server()  # fails before a side starts; the virtual days need no Redis
    with _sides.triptych(seconds=SECONDS, creates_per_minute=0) as side:
        ours = _waits(side)
    with _sides.celery(seconds=SECONDS, creates_per_minute=0) as side:
        theirs = _waits(side)
    for part in PARTS:
        goal = 1.1 if part == PARTS[-1] else None
        for share in IN_A_HUNDRED:
            value, baseline = (percentile(side[part], share) * 1000 for side in (ours, theirs))
            yield Figure(
                f"{part}, p{share}", value, "ms", "Celery", baseline, at_most=goal if share == 50 else None
            )


def _days() -> Iterator[Figure]:
    quiet = day(VIRTUAL_JOBS, Faults(Random(1)))
    for kind in DAYS:
        runs = [
            day(VIRTUAL_JOBS, kind.faults(Random(seed)), kill_every=kind.kill_every)
            for seed in range(1, kind.runs + 1)
        ]
        for run in runs:
            if run.violation:
                raise RuntimeError(run.violation)
        seconds = [taken for run in runs for taken in run.seconds]
        for share in IN_A_HUNDRED:
            value, baseline = percentile(seconds, share), percentile(quiet.seconds, share)
            yield Figure(f"{kind.name}: p{share}", value, "s", "no fault", baseline)
        worst = percentile(seconds, IN_A_HUNDRED[-1])
        yield Figure(f"{kind.name}: p{IN_A_HUNDRED[-1]}", worst, "s", at_most=kind.seconds)
        jobs = kind.runs * VIRTUAL_JOBS
        looks = sum(run.late_looks for run in runs) / jobs
        usual = quiet.late_looks / VIRTUAL_JOBS
        yield Figure(
            f"{kind.name}: looks at ended jobs", looks, "a job", "no fault", usual, at_most=kind.looks
        )
        failed = jobs - sum(run.states["SUCCEEDED"] for run in runs)
        yield Figure(f"{kind.name}: jobs that did not succeed", failed, "", at_most=0)


def _waits(side: _sides.Side) -> dict[str, list[float]]:
    side.wait(side.start(side.prepare(2 * _sides.WORKERS)), PATIENCE)  # warm
    seen: dict[str, tuple[float, float]] = {}
    for _ in range(JOBS):
        prepared = side.prepare(1)
        began = time.time()
        (job,) = side.start(prepared)
        while not side.has_succeeded(job):
            if time.time() > began + PATIENCE:
                raise TimeoutError(f"job {job} did not succeed within {PATIENCE:.0f} s")
            time.sleep(POLL)  # there is no event to wait for
        seen[job] = began, time.time()
    made: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in side.stand_in.ledger().predictions:
        made[job_of(entry)].append(entry)
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    for job, (began, ended) in seen.items():
        first = min(_seconds(one.created_at) for one in made[job])
        last = max(_seconds(one.completed_at or "") for one in made[job])
        for part, value in zip(PARTS, (first - began, ended - last, ended - began), strict=True):
            found[part].append(value)
    return found


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()

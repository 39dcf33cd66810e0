"""A crowd of jobs at Replicate's rate limit, and another owner's single job, on virtual time and in real time.

The crowd is 200 jobs of one owner at 3 predictions a second (12 at once), then ten owners of unequal size. Then 40 jobs
of one owner have low credit: 6 predictions a minute, one at a time. Then 40 jobs have 60 a minute, one at a time. The single
job comes while the crowd waits. Its idle time is that of the same job without a crowd. All parameters have their
defaults, except that the limits of spending are off: an owner with more than 100 unfinished jobs gets 429.

Then three owners upload 300 bombs, and other owners' good photos come among them. Each bomb takes as long as the slowest
known one, and then all the CPU time that a photo may have. That takes five minutes.

`CROWD_JOBS=10000` before the command adds a crowd of so many jobs on virtual time, at a limit and a concurrency that grow
in proportion. 10,000 take about 35 minutes.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import datetime
from statistics import mean, median
from typing import TYPE_CHECKING

from tests.benchmarks import _sides
from tests.benchmarks._report import Figure
from tests.simulation.bombs import Bombed, bombed
from tests.simulation.cloud import DEFAULT
from tests.simulation.crowd import Crowd, crowd
from tests.support.photos import JPEG
from triptych.photo.bounded import CPU_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ONE, TEN, FEW = (200,), (5, 8, 10, 15, 20, 20, 25, 30, 30, 37), (40,)
PER_MINUTE, BURST = 180, 12
REAL = 200  # jobs in real time
SECONDS = 1.5  # of a prediction in real time, about
SLACK = 5.0  # seconds
WAIT = 20.0  # seconds from the crowd's start to the single job
PATIENCE = 900.0
MANY = int(os.environ.get("CROWD_JOBS", "0"))
MANY_SECONDS = 1000  # in which the limit allows the predictions of MANY jobs; a job's deadline is later
IMAGES = 3
KNOWN_SECONDS = 2.8  # of CPU time: the slowest photo of `benchmarks bombs`
BOMBS = (100, 100, 100)  # as many as three owners may have unfinished at once
BOMB_SEEDS = range(1, 7)  # the worst ratio of one run depends on luck
DEFAULTS = {"GenerateConcurrency": "2", "WaitingConcurrency": "2", "WatchdogConcurrency": "2"}


def measure() -> Iterator[Figure]:
    yield from _virtual("200 jobs of one owner", ONE, PER_MINUTE, BURST, newcomer_at=WAIT)
    yield from _virtual("200 jobs of ten owners", TEN, PER_MINUTE, BURST, newcomer_at=WAIT)
    yield from _virtual("40 jobs with low credit", FEW, 6, 1, newcomer_at=100)
    yield from _virtual("40 jobs at 60 a minute, one at a time", FEW, 60, 1, newcomer_at=WAIT)
    if MANY:
        rate = IMAGES * MANY / MANY_SECONDS  # predictions a second
        # A consumer in line creates about three predictions in two seconds.
        lines = {"generation": 20, "waiting": max(2, round(rate)), "watchdog": 20}
        yield from _virtual(f"{MANY:,} jobs of one owner", (MANY,), 60 * rate, round(4 * rate), WAIT, lines)
    for cpu_seconds in (KNOWN_SECONDS, CPU_SECONDS):
        kind = f"{sum(BOMBS)} bombs of {cpu_seconds} s"
        yield from _bombs(f"{kind} at once", cpu_seconds, 2, [1 + 1.5 * number for number in range(16)])
        yield from _bombs(
            f"{kind} in ten minutes", cpu_seconds, 600, [20.0 * number for number in range(1, 29)]
        )
    yield from _real()


def _virtual(
    name: str,
    sizes: Sequence[int],
    per_minute: float,
    burst: int,
    newcomer_at: float,
    concurrency: Mapping[str, int] = DEFAULT,
) -> Iterator[Figure]:
    found, idle = (
        crowd(owners, per_minute=per_minute, burst=burst, newcomer_at=newcomer_at, concurrency=concurrency)
        for owners in (sizes, ())
    )
    if broken := found.violation or idle.violation:
        raise RuntimeError(broken)
    yield from _figures(name, found.newcomer_ended, _idle(found, idle), found.requests_for_image, found.drain)
    yield Figure(
        f"{name}: jobs that did not succeed", sum(sizes) + 1 - found.states["SUCCEEDED"], "", at_most=0
    )
    if len(sizes) > 1:
        yield Figure(f"{name}: Jain's index of the owners", found.jain, "")


def _bombs(name: str, cpu_seconds: float, seconds: float, good_at: Sequence[float]) -> Iterator[Figure]:
    idle = bombed((), good_at, cpu_seconds=cpu_seconds, seconds=seconds)
    asked = median(one.asked for one in idle.good)
    runs = [
        bombed(BOMBS, good_at, cpu_seconds=cpu_seconds, seconds=seconds, seed=seed) for seed in BOMB_SEEDS
    ]
    good = [one for found in runs for one in found.good]
    ratios = [one.ended / one.ended_if_asked_after(asked) for one in good]
    yield Figure(f"{name}: a good photo's time, of its idle time, at most", max(ratios), "", at_most=2.0)
    yield Figure(f"{name}: … mean", mean(ratios), "")
    slowest = max(one.asked for one in good)
    yield Figure(
        f"{name}: from the upload to the last prediction, at most", slowest, "s", "idle, median", asked
    )
    yield Figure(f"{name}: jobs with a wrong end", sum(map(_wrong_ends, runs)), "", at_most=0)


def _wrong_ends(found: Bombed) -> int:
    right = Counter(FAILED=sum(BOMBS), SUCCEEDED=len(found.good))
    return (found.states - right).total() + (found.violation is not None)


def _idle(found: Crowd, idle: Crowd) -> float:
    """Return the time of the same job without a crowd. Its predictions take as long as they did in the crowd."""
    return idle.newcomer_asked + found.newcomer_ended - found.newcomer_asked


def _figures(name: str, single: float, idle: float, requests: float, drain: float) -> Iterator[Figure]:
    yield Figure(
        f"{name}: another owner's single job", single, "s", "twice its idle time + 5 s", 2 * idle + SLACK, 1.0
    )
    yield Figure(f"{name}: create requests for an image", requests, "", at_most=1.3)
    yield Figure(f"{name}: until the last, of what the limit allows", drain, "", at_most=1.05)


def _real() -> Iterator[Figure]:
    stand_in = {"creates_per_minute": PER_MINUTE, "creates_burst": BURST, "seconds": SECONDS}
    with _sides.triptych(DEFAULTS, workers=4, photo=JPEG, **stand_in) as side:
        side.ends(side.start(side.prepare(2)), PATIENCE)  # warm
        began = time.monotonic()
        side.ends(side.start(side.prepare(1, owner=1)), PATIENCE)
        idle = time.monotonic() - began
        time.sleep(BURST * 60 / PER_MINUTE)  # Replicate's bucket is full again
        before = side.stand_in.ledger()
        made = side.prepare(REAL)
        many = side.start(made)
        time.sleep(WAIT)
        at = time.monotonic()
        one = side.start(side.prepare(1, owner=1))
        (ended,) = side.ends(one, PATIENCE)
        side.ends(many, PATIENCE)
        ledger = side.stand_in.ledger()
        states = side.look()
    images = ledger.created - before.created
    requests = ledger.requests["create"] - before.requests["create"]
    times = [datetime.fromisoformat(one.created_at) for one in ledger.predictions]
    last = (max(times) - sorted(times)[before.created]).total_seconds()
    name = f"in real time, {REAL} jobs of one owner"
    allowed = (images - BURST) * 60 / PER_MINUTE
    yield from _figures(name, ended - at, idle, requests / images, last / allowed)
    failed = sum(states[job].state != "done" for job in (*many, *one))
    yield Figure(f"{name}: jobs that did not succeed", failed, "", at_most=0)

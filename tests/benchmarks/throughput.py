"""Jobs a minute, beside the Celery task that Triptych replaces: two workers each, the same stand-in for Replicate.

The photos are there (for Triptych, their upload is part of the time), the tasks are queued all at once, and a
prediction takes 3 to 5 s, without a rate limit. Jobs a minute are those that end between the first end and the last:
what a prediction takes stands before the first, on either side, and says nothing of how many jobs a worker gets done.
The time from the first task queued to the last end, in which it is, is told as well. All sides run by turns, each
REPEATS times, and the medians are compared. It needs redis-server (`apt-get install redis-server`).
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from tests.benchmarks import _sides
from tests.benchmarks._report import Figure
from tests.localcloud.replicate_faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds that Replicate takes to answer to a create, and jobs: so many that the last of them do not weigh too much.
CREATES = {0.5: 80, 0.0: 160}
IMAGES, REPEATS = 3, 3
SECONDS = 240  # that they may take at most
OURS, THEIRS, MORE = "Triptych", "Celery", f"Celery with {IMAGES * _sides.WORKERS} workers"
SIDES: dict[str, Callable[..., AbstractContextManager[_sides.Side]]] = {
    OURS: _sides.triptych,
    THEIRS: _sides.celery,
    MORE: partial(_sides.celery, workers=IMAGES * _sides.WORKERS),  # as many creates at once as ours
}


def measure() -> Iterator[Figure]:
    _sides.redis_server()  # before anything is started for nothing
    rates: defaultdict[tuple[str, float], list[float]] = defaultdict(list)
    whole: defaultdict[tuple[str, float], list[float]] = defaultdict(list)
    cpu: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        for name, side in SIDES.items():
            with side(seconds=4, creates_per_minute=0) as running:
                # So that all workers are there.
                running.wait(running.start(running.prepare(4 * _sides.WORKERS)), SECONDS)
                for create, jobs in CREATES.items():
                    running.stand_in.set_faults(
                        *[Fault(kind="hang", on="create", seconds=create)] if create else []
                    )
                    prepared = running.prepare(jobs)
                    before = running.cpu()
                    rate, seconds = _jobs_a_minute(running, prepared)
                    rates[name, create].append(rate)
                    whole[name, create].append(seconds)
                for part, used in running.cpu().items():
                    cpu[name, part].append((used - before[part]) / jobs)
    for (create, jobs), goal in zip(CREATES.items(), (2, None), strict=True):
        ours, theirs, more = (statistics.median(rates[name, create]) for name in SIDES)
        what = f"a create takes {create:g} s: jobs"
        yield Figure(what, ours, "/min", THEIRS, theirs, at_least=goal)
        yield Figure(what, ours, "/min", MORE, more)
        ours, theirs, _ = (statistics.median(whole[name, create]) for name in SIDES)
        yield Figure(f"… {jobs} jobs, to the last end", ours, "s", THEIRS, theirs)
    for part in (_sides.WORK, _sides.MOTO):
        ours, theirs = (statistics.median(cpu[name, part]) for name in (OURS, THEIRS))
        yield Figure(f"of it, CPU of {part} for a job", ours, "s", THEIRS, theirs)
    rest = next(part for name, part in cpu if name == OURS and part not in {_sides.WORK, _sides.MOTO})
    yield Figure(f"of it, CPU of {rest} for a job", statistics.median(cpu[OURS, rest]), "s")


def _jobs_a_minute(side: _sides.Side, prepared: list[object]) -> tuple[float, float]:
    """Jobs a minute from the first end to the last, and seconds from the first task to the last end."""
    began = time.monotonic()
    jobs = side.start(prepared)
    ends = side.ends(jobs, SECONDS)
    found = side.look()
    undone = [job for job in jobs if found[job].state != "done"]
    if undone:
        raise RuntimeError(f"{len(undone)} of {len(jobs)} jobs were not done within {SECONDS} s")
    return (len(ends) - 1) / (ends[-1] - ends[0]) * 60, ends[-1] - began

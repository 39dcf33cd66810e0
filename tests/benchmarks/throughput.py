"""Jobs a minute of Triptych and of the Celery task that it replaces, with two workers each.

All tasks are queued at once. For Celery the photos exist already; for Triptych the upload is part of the time. A
prediction takes 3 s to 5 s, without a rate limit.

"Jobs a minute" counts the jobs that end between the first end and the last. The first prediction is left out, because
its duration does not depend on the workers. Another figure, the time from the first task to the last end, includes it.
The sides alternate, each REPEATS times, and the medians are compared.

It needs redis-server (`apt-get install redis-server`).
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

# Seconds until Replicate answers a create request → number of jobs, large enough that the last ones matter little.
CREATES = {0.5: 80, 0.0: 160}
IMAGES, REPEATS = 3, 3
SECONDS = 240  # the longest time for all jobs
OURS, THEIRS, MORE = "Triptych", "Celery", f"Celery with {IMAGES * _sides.WORKERS} workers"
SIDES: dict[str, Callable[..., AbstractContextManager[_sides.Side]]] = {
    OURS: _sides.triptych,
    THEIRS: _sides.celery,
    MORE: partial(
        _sides.celery, workers=IMAGES * _sides.WORKERS
    ),  # as many concurrent create requests as Triptych
}


def measure() -> Iterator[Figure]:
    _sides.redis_server()  # fails before anything has started
    rates: defaultdict[tuple[str, float], list[float]] = defaultdict(list)
    whole: defaultdict[tuple[str, float], list[float]] = defaultdict(list)
    cpu: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        for name, side in SIDES.items():
            with side(seconds=4, creates_per_minute=0) as running:
                # Warm up, so that all workers have started.
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
        name = f"a create request takes {create:g} s: jobs"
        yield Figure(name, ours, "/min", THEIRS, theirs, at_least=goal)
        yield Figure(name, ours, "/min", MORE, more)
        ours, theirs, _ = (statistics.median(whole[name, create]) for name in SIDES)
        yield Figure(f"… {jobs} jobs, to the last end", ours, "s", THEIRS, theirs)
    for part, goal in ((_sides.WORK, 1), (_sides.MOTO, None)):
        ours, theirs = (statistics.median(cpu[name, part]) for name in (OURS, THEIRS))
        yield Figure(f"of it, CPU of {part} for a job", ours, "s", THEIRS, theirs, at_most=goal)
    rest = next(part for name, part in cpu if name == OURS and part not in {_sides.WORK, _sides.MOTO})
    yield Figure(f"of it, CPU of {rest} for a job", statistics.median(cpu[OURS, rest]), "s")


def _jobs_a_minute(side: _sides.Side, prepared: list[object]) -> tuple[float, float]:
    """Return the jobs a minute from the first end to the last, and the seconds from the first task to the last end."""
    began = time.monotonic()
    jobs = side.start(prepared)
    ends = side.ends(jobs, SECONDS)
    found = side.look()
    unfinished = [job for job in jobs if found[job].state != "done"]
    if unfinished:
        raise RuntimeError(f"{len(unfinished)} of {len(jobs)} jobs did not succeed within {SECONDS} s")
    return (len(ends) - 1) / (ends[-1] - ends[0]) * 60, ends[-1] - began

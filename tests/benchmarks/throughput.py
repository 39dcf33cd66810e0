"""Jobs a minute, beside the Celery task that Triptych replaces: two workers each, the same stand-in for Replicate.

The photos are there (for Triptych, their upload is part of the time), the tasks are queued all at once, and the time is
until the last job has ended. A prediction takes 3 to 5 s, and there is no rate limit. Both sides run by turns, each
REPEATS times, and the medians are compared. It needs redis-server (`apt-get install redis-server`).
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.benchmarks import _sides
from tests.benchmarks._report import Figure
from tests.localcloud.replicate_faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

JOBS, REPEATS = 80, 3
SECONDS = 240  # that they may take at most
CREATES = (0.5, 0.0)  # seconds that Replicate takes to answer to a create


def measure() -> Iterator[Figure]:
    _sides.redis_server()  # before anything is started for nothing
    rates: defaultdict[tuple[str, float], list[float]] = defaultdict(list)
    moto: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        for side in (_sides.triptych, _sides.celery):
            with side(seconds=4, creates_per_minute=0) as running:
                running.wait(running.start(running.prepare(4)), SECONDS)  # so that all workers are there
                for create in CREATES:
                    running.stand_in.set_faults(
                        *[Fault(kind="hang", on="create", seconds=create)] if create else []
                    )
                    before = running.moto_cpu()
                    rates[side.__name__, create].append(_jobs_a_minute(running))
                    moto[side.__name__].append((running.moto_cpu() - before) / JOBS)
    for create, goal in zip(CREATES, (2, None), strict=True):
        ours, theirs = (statistics.median(rates[side, create]) for side in ("triptych", "celery"))
        yield Figure(f"a create takes {create:g} s: jobs", ours, "/min", "Celery", theirs, at_least=goal)
    ours, theirs = (statistics.median(moto[side]) for side in ("triptych", "celery"))
    yield Figure("of it, CPU that moto takes for a job", ours, "s", "Celery", theirs)


def _jobs_a_minute(side: _sides.Side) -> float:
    prepared = side.prepare(JOBS)
    began = time.monotonic()
    found = side.wait(side.start(prepared), SECONDS)
    seconds = time.monotonic() - began
    undone = [job for job, one in found.items() if one.state != "done"]
    if undone:
        raise RuntimeError(f"{len(undone)} of {JOBS} jobs were not done within {SECONDS} s")
    return JOBS / seconds * 60

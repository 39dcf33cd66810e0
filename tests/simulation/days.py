"""Many jobs on a day with one kind of fault: how long each took, and how often the watchdog looked in vain."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import JOBS_PER_SECOND, Faults
from tests.simulation.run import END

LOOK_SECONDS = 0.5  # until the killer looks again for a process, at most


@dataclass(frozen=True)
class Day:
    """The result. Seconds are virtual."""

    violation: str | None  # the broken promise, if any
    states: Counter[str]
    seconds: list[float]  # of each job, from its upload to its end
    late_looks: int  # of the watchdog at jobs that have ended
    faults: int  # that struck
    kills: Counter[str]  # of processes, by the function and the last request of each


def day(jobs: int, faults: Faults, *, kill_every: float | None = None) -> Day:
    """Let clients order, upload and poll, one in ten seconds on average.

    Args:
        jobs: The number of jobs.
        faults: The faults. The last happens when the last client starts.
        kill_every: So often, in seconds and on average, a process is killed until then. None: never.
    """
    span = jobs / JOBS_PER_SECOND
    faults.until = span
    kills: Counter[str] = Counter()
    with Cloud(faults) as cloud:
        if kill_every:
            _kill(cloud, kill_every, kills)
        for number in range(jobs):
            cloud.engine.after(cloud.random.uniform(0, span), Client(cloud, number).start)
        violation = cloud.broken_promise(span + END)
        checks = cloud.checks
        seconds = [
            checks.ended_at[one.job_id] - cloud.seconds(one.started_at)
            for one in checks.records.values()
            if one.started_at and one.job_id in checks.ended_at
        ]
        return Day(violation, checks.summary(), seconds, cloud.late_looks, faults.injected.total(), kills)


def _kill(cloud: Cloud, every: float, kills: Counter[str]) -> None:
    """Kill a process in each interval: at a drawn moment, or as soon as one runs."""

    def kill() -> None:
        if killed := cloud.kill_one():
            kills[f"{killed.name}: {killed.request}"] += 1
        else:
            cloud.engine.after(cloud.random.uniform(0, LOOK_SECONDS), kill)

    at = 0.0
    while at < cloud.faults.until:
        cloud.engine.after(at + cloud.random.uniform(0, every), kill)
        at += every

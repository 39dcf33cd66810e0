"""Many jobs on a day with one kind of fault: how long each took, and how often the watchdog looked in vain."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import JOBS_PER_SECOND, Faults
from tests.simulation.run import END


@dataclass
class Killing(Faults):
    """Faults of which one returns: some seconds after a process was killed, the next request kills its process.

    It dies before and after the request's effect in turn.
    """

    every: float = 10.0  # seconds
    number: int = 0  # of the last interval in which a process was killed

    def crash(self, number: int, name: str, now: float) -> str | None:
        if now >= self.until or now < self.every * (self.number + 1):
            return super().crash(number, name, now)
        self.number = int(now / self.every)
        self.injected["killed"] += 1
        return "before" if self.number % 2 else "after"


@dataclass(frozen=True)
class Day:
    """The result. Seconds are virtual."""

    violation: str | None  # the broken promise, if any
    states: Counter[str]
    seconds: list[float]  # of each job, from its upload to its end
    late_looks: int  # of the watchdog at jobs that have ended
    faults: int  # that struck


def day(jobs: int, faults: Faults) -> Day:
    """Let clients order, upload and poll, one in ten seconds on average.

    Args:
        jobs: The number of jobs.
        faults: The faults. The last happens when the last client starts.
    """
    span = jobs / JOBS_PER_SECOND
    faults.until = span
    with Cloud(faults) as cloud:
        for number in range(jobs):
            cloud.engine.after(cloud.random.uniform(0, span), Client(cloud, number).start)
        violation = cloud.broken_promise(span + END)
        checks = cloud.checks
        seconds = [
            checks.ended_at[one.job_id] - cloud.seconds(one.started_at)
            for one in checks.records.values()
            if one.started_at and one.job_id in checks.ended_at
        ]
        return Day(violation, checks.summary(), seconds, cloud.late_looks, faults.injected.total())

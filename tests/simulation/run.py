"""One run: some jobs, one seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.checks import Violation
from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import Faults

RUN_JOBS = 100  # of one run at most: a run is one world, and one seed
JOBS_PER_SECOND = 0.1
LOW_CREDIT_JOBS_PER_SECOND = 0.02
END = 4 * 3600.0  # seconds after the faults have stopped: nothing takes so long


@dataclass
class Outcome:
    """What came of a run."""

    seed: int
    jobs: int
    faults: str  # what could go wrong, for people
    violation: str | None = None
    injected: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    billed: int = 0
    pictures: int = (
        0  # that those were for; more of them than that were wanted again, after a failure, by the owner
    )
    orphans: int = 0  # pictures in S3 that no job tells of
    failures: Counter[str] = field(default_factory=Counter)  # images, by the code that says why
    posts: int = 0  # requests for a prediction
    slowest: float = 0.0  # virtual seconds from the upload, or the retry, to the end
    trace: str = ""


def run(seed: int, jobs: int, faults: Faults | None = None) -> Outcome:
    """Let `jobs` clients come, let things go wrong, let it end, and look. Without `faults`, the seed draws them."""
    faults = faults or Faults.drawn(seed, jobs / JOBS_PER_SECOND)
    rate = JOBS_PER_SECOND if faults.per_minute >= 600 else LOW_CREDIT_JOBS_PER_SECOND
    if rate != JOBS_PER_SECOND:
        faults.until = jobs / rate + 600
    outcome = Outcome(seed, jobs, faults.described())
    with Cloud(faults) as cloud:
        for number in range(jobs):
            client = Client(cloud, number)
            cloud.engine.after(cloud.random.uniform(0, jobs / rate), client.start)
        try:
            over = cloud.engine.run(faults.until + END)
            cloud.checks.at_the_end(over=over)
        except Violation as violation:
            outcome.violation = str(violation)
        checks = cloud.checks
        outcome.injected = +faults.injected
        outcome.states = checks.summary()
        outcome.billed = len(cloud.replicate.predictions)
        outcome.pictures = len(checks.billed)
        outcome.failures = Counter(
            image.error for record in checks.records.values() for image in record.images if image.error
        )
        outcome.posts = sum(request.endswith("Replicate create") for request in cloud.requests)
        outcome.orphans = len(checks.orphans())
        outcome.slowest = max(
            (
                checks.ended_at[record.job_id] - cloud.seconds(record.started_at)
                for record in checks.records.values()
                if record.started_at and record.job_id in checks.ended_at
            ),
            default=0.0,
        )
        outcome.trace = cloud.trace.hexdigest()[:16]
    return outcome

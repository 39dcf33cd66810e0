"""One run of the simulation: some jobs and one seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.simulation import retention
from tests.simulation.checks import ViolationError
from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import JOBS_PER_SECOND, LASTING_SECONDS, Faults
from tests.simulation.guards import without
from tests.simulation.situations import Situation

RUN_JOBS = 100  # jobs in one run, at most
LOW_CREDIT_JOBS_PER_SECOND = 0.06  # more than Replicate allows, so that jobs wait in line for minutes
END = 6 * 3600.0  # seconds after the last fault; every job ends sooner, also one that is retried four times


@dataclass
class Result:
    """The result of a run."""

    seed: int
    jobs: int
    faults: str  # the possible faults, for people
    violation: str | None = None
    injected: Counter[str] = field(default_factory=Counter)
    situations: Counter[Situation] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    billed: int = 0
    images: int = 0  # images that have a prediction; an owner's retry adds predictions, not images
    orphans: int = 0  # outputs in S3 that no job refers to
    failures: Counter[str] = field(default_factory=Counter)  # failed images, by code
    most_messages: int = 0  # sent to the queues for one job from its creation, or a retry, on
    longest_run_on: float = 0.0  # seconds that a prediction ran after its job's end, where nothing hindered
    longest_run_on_hindered: float = 0.0
    longest_wait: float = 0.0  # of a message for a free function
    doubled: int = 0  # second predictions of one POST
    posts: int = 0  # create requests to Replicate
    wasted: int = 0  # predictions that the handlers counted as made for nothing
    slowest: float = 0.0  # virtual seconds from the upload, or the retry, to the end
    trace: str = ""


def run(
    seed: int, jobs: int, faults: Faults | None = None, guard: str | None = None, *, moto: bool = False
) -> Result:
    """Run `jobs` clients with faults until all is over, and check the promises.

    Args:
        seed: The seed of the run.
        jobs: The number of jobs.
        faults: The faults; None lets the seed draw them.
        guard: The guard that is left out, if any.
        moto: Use moto, whose mock must be active, instead of the stand-ins for DynamoDB, S3 and SSM.
    """
    faults = faults or Faults.drawn(seed, jobs / JOBS_PER_SECOND)
    rate = JOBS_PER_SECOND if faults.per_minute >= 600 else LOW_CREDIT_JOBS_PER_SECOND
    if rate != JOBS_PER_SECOND:
        faults.until = jobs / rate + (LASTING_SECONDS if faults.lasting else 600)
    result = Result(seed, jobs, faults.described())
    with without(guard), Cloud(faults, moto=moto) as cloud:
        clients = [Client(cloud, number) for number in range(jobs)]
        for client in clients:
            cloud.engine.after(cloud.random.uniform(0, jobs / rate), client.start)
        try:
            over = cloud.engine.run(faults.until + END)
            _take_figures(result, cloud)
            cloud.checks.at_the_end(over=over)
            if faults.retention:
                retention.plan(cloud, clients)
                if faults.at_the_edge:
                    faults.resume(*retention.EDGE)
                over = cloud.engine.run(retention.DURATION)
                cloud.checks.at_the_end(over=over)
        except ViolationError as violation:
            _take_figures(result, cloud)
            result.violation = str(violation)
        result.injected, result.situations = +faults.injected, +faults.situations
        result.trace = cloud.trace.hexdigest()[:16]
    return result


def _take_figures(result: Result, cloud: Cloud) -> None:
    checks = cloud.checks
    result.states = checks.summary()
    result.billed = len(cloud.replicate.predictions)
    result.doubled = sum(made.doubled for made in cloud.replicate.predictions.values())
    result.longest_wait = checks.longest_wait
    result.images = len(checks.billed)
    result.failures = Counter(
        image.error for record in checks.records.values() for image in record.images if image.error
    )
    result.most_messages = max(cloud.messages.values(), default=0)
    result.longest_run_on = checks.longest_run_on
    result.longest_run_on_hindered = checks.longest_run_on_hindered
    result.posts = sum(request.endswith("Replicate create") for request in cloud.requests)
    result.orphans = len(checks.orphans())
    result.wasted = int(cloud.metrics["PredictionsWasted"])
    result.slowest = max(
        (
            checks.ended_at[record.job_id] - cloud.seconds(record.started_at)
            for record in checks.records.values()
            if record.started_at and record.job_id in checks.ended_at
        ),
        default=0.0,
    )

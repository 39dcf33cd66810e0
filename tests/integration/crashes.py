"""Crash plans: one job, killed just before or just after chosen requests of its functions.

`tests.simulation.cloud` numbers the requests of a run without a crash, so a new request is covered without a change
here. A crash has the consequences that it has in production: SQS delivers the message again when its visibility
timeout ends, Replicate and the client repeat their calls, and the watchdog checks the job. Time is virtual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, count, product
from random import Random
from typing import Literal

from tests.simulation.checks import OPEN, ViolationError
from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import Faults
from tests.simulation.replicate import output
from triptych.aws import bucket, table
from triptych.job import Job, JobStatus

DAY = 86_400.0
AGAIN_SECONDS = 100.0

type Action = Literal["cancel", "delete", "retry", "order again"]
type Crashes = dict[
    int, Literal["before", "after"]
]  # number of a request → the kill before or after its effect
HOWS: tuple[Literal["before", "after"], ...] = ("before", "after")

numbers = count()  # moto's table is shared, so each run needs a client of its own


@dataclass(frozen=True)
class Scenario:
    """What happens to a job, beside the crashes."""

    rates: dict[str, float] = field(default_factory=dict)  # of the simulation's faults
    for_seconds: float = DAY  # so long these faults happen
    later: dict[str, float] = field(default_factory=dict)  # faults that happen from then on
    low_credit: bool = False
    actions: tuple[tuple[float, Action], ...] = ()  # of the owner, each after so many seconds
    statuses: tuple[JobStatus, ...] = (JobStatus.SUCCEEDED,)  # at the end, of which the first without a crash
    most_predictions: int = 3
    longest_doubled: float = DAY  # seconds that the second prediction of one POST may run


def run(scenario: Scenario, crashes: Crashes, *, moto: bool = False) -> list[str]:
    """Run one job to its end and return the names of the requests that its functions made.

    Raises:
        ViolationError: A promise was broken.
    """
    # The seed is fixed: all runs are equal up to the crash, so a number always means the same request.
    faults = Faults(Random(4), dict(scenario.rates), until=DAY, crashes=dict(crashes))
    if scenario.low_credit:
        faults.per_minute, faults.burst = 6, 1
    with Cloud(faults, moto=moto) as cloud:
        client = Client(cloud, next(numbers))
        cloud.engine.after(0, client.start)
        cloud.engine.after(scenario.for_seconds, lambda: _change(faults, scenario.later))
        for seconds, action in scenario.actions:
            cloud.engine.after(seconds, partial(_act, action, cloud, client))
        cloud.checks.at_the_end(over=cloud.engine.run(DAY))
        job = table.get(client.job_id)
        expected = scenario.statuses[:1] if not crashes else scenario.statuses
        _check_end(scenario, cloud, client, job, expected=expected)
        if len(cloud.replicate.predictions) > scenario.most_predictions:
            raise ViolationError(f"{len(cloud.replicate.predictions)} predictions are billed")
        for made in cloud.replicate.predictions.values():
            ran = (made.finished_at or DAY) - made.created_at
            if made.doubled and ran > scenario.longest_doubled:
                raise ViolationError(f"the second prediction of one POST ran for {ran:.0f} s")
        if cloud.aws.stored(f"{bucket.OUTPUTS}/{client.job_id}/") != _outputs(job):
            raise ViolationError("the objects in S3 differ from the job's outputs")
    return cloud.requests


def _change(faults: Faults, rates: dict[str, float]) -> None:
    faults.rates.clear()
    faults.rates.update(rates)


def _act(action: Action, cloud: Cloud, client: Client) -> None:
    """Act as the owner. A retry is repeated as long as the job has failed, or has not ended.

    "order again" is a new job for the photo of the job.
    """
    if not client.job_id:  # a crash delays its creation
        cloud.engine.after(AGAIN_SECONDS, partial(_act, action, cloud, client))
        return
    record = cloud.checks.records.get(client.job_id)
    if action == "order again":
        Client(cloud, client.number, source=client).start()
    elif action != "retry":
        client.ask(action)
    elif record is None:
        return
    elif record.status in OPEN:
        cloud.engine.after(AGAIN_SECONDS, partial(_act, action, cloud, client))
    elif record.status in {"FAILED", "PARTIAL"}:
        client.ask(action)
        cloud.engine.after(AGAIN_SECONDS, partial(_act, action, cloud, client))


def _check_end(
    scenario: Scenario, cloud: Cloud, client: Client, job: Job | None, *, expected: tuple[JobStatus, ...]
) -> None:
    actions = {action for _, action in scenario.actions}
    ends = [record.status for record in cloud.checks.records.values()]
    if "order again" in actions and ends != [JobStatus.SUCCEEDED] * 2:
        raise ViolationError(f"the job and the one for its photo ended as {ends}")
    if "delete" in actions:
        if job:
            raise ViolationError(f"the job was not deleted: {job}")
        return
    if job is None or job.status not in expected:
        raise ViolationError(f"{job}")
    if not actions - {"order again"} and (client.view is None or client.view["status"] != job.status):
        raise ViolationError(f"its client sees {client.view}")


def _outputs(job: Job | None) -> dict[str, bytes]:
    return {
        image.output.key: output(image.prediction_id)
        for image in (job.images if job else ())
        if image.output and image.prediction_id
    }


def broken(
    scenario: Scenario, plans: Callable[[int], list[Crashes]], *, moto: bool = False
) -> tuple[int, list[str]]:
    """Run plans; return their number, and a description of each that broke a promise, with the place of its crash.

    Args:
        scenario: The scenario.
        plans: Makes the plans for a number of requests, those of a run without a crash.
        moto: Use moto's DynamoDB, S3 and SSM instead of the simulation's stand-ins.
    """
    found = []
    usual = run(scenario, {}, moto=moto)
    made = plans(len(usual))
    for crashes in made:
        try:
            run(scenario, crashes, moto=moto)
        except ViolationError as violation:
            steps = [
                f"{how} request {k} ({usual[k - 1] if k <= len(usual) else 'of the recovery'})"
                for k, how in crashes.items()
            ]
            found.append(f"killed {', then '.join(steps)}: {violation}")
    return len(made), found


def every_step(requests: int) -> list[Crashes]:
    return [{k: how} for k in range(1, requests + 1) for how in HOWS]


def every_pair(requests: int, *, recovery: int = 6) -> list[Crashes]:
    """Return every pair of kills, of which the second may hit one of the first requests of the recovery."""
    pairs = combinations(range(1, requests + recovery + 1), 2)
    return [{i: one, j: other} for i, j in pairs if i <= requests for one, other in product(HOWS, repeat=2)]


def random_pairs(requests: int) -> list[Crashes]:
    random = Random(4)
    return [
        {k: how, random.randint(k + 1, requests + 10): random.choice(HOWS)}
        for k in range(1, requests + 1)
        for how in HOWS * 3
    ]

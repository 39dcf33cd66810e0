"""A crash at every step: one job, killed just before and just after each request of its functions.

`tests.simulation.cloud` numbers the requests of a run without a crash, so a new request is covered without a change
here. A crash has the consequences that it has in production: SQS delivers the message again when its visibility
timeout ends, Replicate and the client repeat their calls, and the watchdog checks the job. Time is virtual. The test
that crashes once at each step uses moto's DynamoDB, S3 and SSM. The slower ones use the simulation's stand-ins, which
tests compare with moto.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random

import pytest

from tests.simulation.checks import ViolationError
from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import Faults
from tests.simulation.moto_aws import moto_aws
from tests.simulation.replicate import output
from triptych.aws import bucket, table
from triptych.job import JobStatus

DAY = 86_400.0
NO_WEBHOOKS = {"webhook_dropped": 1.0}

numbers = count()  # moto's table is shared, so each run needs a client of its own

type Crashes = dict[int, str]  # number of a request → "before" or "after" it takes effect


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    with moto_aws():
        yield


def run(crashes: Crashes, rates: dict[str, float], *, moto: bool) -> list[str]:
    """Run one job to its end and return the names of the requests that its functions made.

    Raises:
        ViolationError: A promise was broken.
    """
    # The seed is fixed: all runs are equal up to the crash, so a number always means the same request.
    faults = Faults(Random(4), rates, until=DAY, crashes=crashes)
    with Cloud(faults, moto=moto) as cloud:
        client = Client(cloud, next(numbers))
        cloud.engine.after(0, client.start)
        cloud.checks.at_the_end(over=cloud.engine.run(DAY))
        job = table.get(client.job_id)
        if job is None or job.status is not JobStatus.SUCCEEDED:
            raise ViolationError(f"{job}")
        if client.view is None or client.view["status"] != "SUCCEEDED":
            raise ViolationError(f"its client sees {client.view}")
        if len(cloud.replicate.predictions) != len(job.images):
            raise ViolationError(f"{len(cloud.replicate.predictions)} predictions are billed")
        expected = {
            image.output.key: output(image.prediction_id)
            for image in job.images
            if image.output and image.prediction_id
        }
        if cloud.aws.stored(f"{bucket.OUTPUTS}/{job.job_id}/") != expected:
            raise ViolationError("the objects in S3 differ from the job's outputs")
    return cloud.requests


def broken(plans: list[Crashes], rates: dict[str, float], *, moto: bool = False) -> list[str]:
    """Describe each plan that broke a promise, with the place of its crash."""
    found = []
    usual = run({}, rates, moto=moto)
    for crashes in plans:
        try:
            run(crashes, rates, moto=moto)
        except ViolationError as violation:
            steps = [
                f"{how} request {k} ({usual[k - 1] if k <= len(usual) else 'of the recovery'})"
                for k, how in crashes.items()
            ]
            found.append(f"killed {', then '.join(steps)}: {violation}")
    return found


def every_step(rates: dict[str, float]) -> list[Crashes]:
    requests = len(run({}, rates, moto=False))
    return [{k: how} for k in range(1, requests + 1) for how in ("before", "after")]


def test_crash_at_any_step_loses_and_bills_nothing(aws: None) -> None:
    plans = every_step({})
    assert len(plans) > 40
    assert broken(plans, {}, moto=True) == []


def test_crash_without_webhooks_loses_and_bills_nothing(aws: None) -> None:
    assert broken(every_step(NO_WEBHOOKS), NO_WEBHOOKS) == []


def test_second_crash_loses_and_bills_nothing(aws: None) -> None:
    random = Random(4)
    once = every_step({})
    plans = [
        {k: how, random.randint(k + 1, len(once) // 2 + 10): random.choice(["before", "after"])}
        for crash in once * 3
        for k, how in crash.items()
    ]
    assert broken(plans, {}) == []

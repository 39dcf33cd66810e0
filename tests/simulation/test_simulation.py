"""Some hundreds of jobs, as `python -m tests.simulation` runs them by the thousand."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.simulation.burst import drain
from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import REPLICATE_OUTAGES, Faults
from tests.simulation.run import END, run

JOBS = 40


@pytest.mark.parametrize("seed", range(1, 7))
def test_the_promises_hold_whatever_fails(seed: int) -> None:
    outcome = run(seed, JOBS)
    again = f"python -m tests.simulation --jobs {JOBS} --seed {seed}"
    assert outcome.violation is None, f"{outcome.violation}; again: {again}; faults: {outcome.faults}"


def test_when_nothing_fails_every_job_succeeds_and_each_picture_is_paid_for_once() -> None:
    outcome = run(1, 20, Faults(Random(1)))
    assert outcome.violation is None
    assert outcome.states == {"SUCCEEDED": 20}
    assert outcome.billed == outcome.pictures == 60
    assert outcome.slowest < 60


def test_a_seed_gives_the_same_run_each_time() -> None:
    first, second = run(5, 15), run(5, 15)
    assert first == second
    assert first.trace != run(6, 15).trace


@pytest.mark.parametrize("kind", REPLICATE_OUTAGES)
def test_an_outage_of_replicate_for_twenty_minutes_costs_no_picture(kind: str) -> None:
    outcome = run(1, JOBS, Faults.of_outage(kind, 20 * 60, 1))
    assert outcome.violation is None
    assert outcome.states == {"SUCCEEDED": JOBS}
    assert outcome.billed == outcome.pictures == 3 * JOBS


@pytest.mark.parametrize("kind", sorted(REPLICATE_OUTAGES.keys() - {"slow"}))
def test_an_outage_that_outlasts_the_deadline_is_said_and_costs_nothing(kind: str) -> None:
    outcome = run(1, JOBS, Faults.of_outage(kind, 40 * 60, 1))
    assert outcome.violation is None
    assert outcome.states == {"FAILED": JOBS}
    assert outcome.failures == {"deadline_exceeded": 3 * JOBS}
    assert outcome.billed == 0


def test_a_job_costs_the_same_however_many_there_are() -> None:
    """In requests, but for the clients' own looks and those (token, signing secret) that the clock decides."""

    def of_each_job(jobs: int) -> dict[str, float]:
        with Cloud(Faults(Random(1))) as cloud:
            for number in range(jobs):
                cloud.engine.after(10.0 * number, Client(cloud, number).start)
            cloud.engine.run(10.0 * jobs + END)
            made = Counter(cloud.requests)
        ours = {"api: DynamoDB GetItem", "generate: SSM GetParameter", "webhook: SSM GetParameter"}
        return {
            request: times / jobs
            for request, times in made.items()
            if request not in ours and not request.endswith("secret")
        }

    few, many = of_each_job(5), of_each_job(50)
    assert few["generate: Replicate create"] == 3
    assert few.keys() == many.keys()
    for request, times in many.items():
        assert times <= 1.1 * few[request], (
            request
        )  # races that two webhooks at once have lost are among them


def test_a_burst_is_worked_off_as_fast_as_replicates_limit_allows() -> None:
    """As `python -m tests.benchmarks burst` has it, with a third of the jobs and of the limit."""
    found = drain(333, 60, per_minute=200, burst=200)
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 333}
    assert found.predictions == found.pictures == 999
    assert found.last_created <= 1.06 * found.allowed


def test_with_low_credit_one_picture_after_the_other_is_made_and_little_is_asked_in_vain() -> None:
    """Six predictions a minute, one at once: what Replicate allows an account that has little money left."""
    found = drain(5, 5, per_minute=6, burst=1)
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 5}
    assert found.predictions == found.pictures == 15
    assert found.requests <= 5 * found.pictures
    assert found.last_created <= 1.5 * found.allowed


def test_a_job_may_have_to_wait_for_longer_than_one_message_lives() -> None:
    """Twenty receives, of a quarter of a minute at most, are less than what these jobs wait for."""
    found = drain(30, 30, per_minute=6, burst=1)
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 30}
    assert found.last_created <= 1.2 * found.allowed

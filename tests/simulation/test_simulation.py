"""Some hundreds of jobs, as `python -m tests.simulation` runs them by the thousand."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.faults import REPLICATE_OUTAGES, Faults
from tests.simulation.run import run

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

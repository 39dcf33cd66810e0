"""Tests that run some hundred jobs in the simulation. `python -m tests.simulation` runs thousands."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.simulation.bombs import BEFORE_THE_FIRST_LOOK, bombed
from tests.simulation.burst import drain
from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.crowd import crowd
from tests.simulation.days import day
from tests.simulation.faults import JOBS_PER_SECOND, REPLICATE_OUTAGES, TURNS, Faults
from tests.simulation.guards import GUARDS
from tests.simulation.moto_aws import moto_aws
from tests.simulation.run import END, run
from tests.simulation.situations import Situation, missing
from triptych.photo.bounded import CPU_SECONDS

JOBS = 30
SEEDS = range(1, TURNS + 2)
MOTO_SEEDS = {1: (0, 0), 4: (12, 60)}  # each with the daily limits of an owner and of all


def test_promises_hold_under_all_faults() -> None:
    """Run seeds in which every kind of fault has its turn; most situations must really happen."""
    situations: Counter[Situation] = Counter()
    wasted = 0
    for seed in SEEDS:
        result = run(seed, JOBS)
        again = f"python -m tests.simulation --jobs {JOBS} --seed {seed}"
        assert result.violation is None, f"{result.violation}; again: {again}; faults: {result.faults}"
        situations += result.situations
        wasted += result.wasted
    never = missing(situations, JOBS * len(SEEDS))
    assert len(never) <= len(Situation) / 10, never
    assert wasted > 0  # jobs are canceled and deleted while predictions run


@pytest.mark.timeout(900)  # seconds; the usual 300 are not enough on a busy machine
def test_promises_hold_on_the_real_code_of_the_table() -> None:
    """Here PynamoDB's requests reach moto, which evaluates their conditions. Other runs replace `aws.table` and `aws.counts`."""
    for seed, limits in MOTO_SEEDS.items():
        faults = Faults.drawn(seed, JOBS / JOBS_PER_SECOND)
        faults.retention = False
        faults.daily_limit, faults.stack_limit = limits
        with moto_aws():
            result = run(seed, JOBS, faults, moto=True)
        assert result.violation is None, f"seed {seed}: {result.violation}; faults: {result.faults}"
        full = {Situation.DAY_FULL, Situation.STACK_FULL}
        assert full & result.situations.keys() == (full if any(limits) else set())


@pytest.mark.parametrize("guard", GUARDS)
def test_missing_guard_is_noticed(guard: str) -> None:
    found = run(1, JOBS, GUARDS[guard].faults(1, JOBS), guard)
    assert found.violation is not None
    control = run(1, JOBS, GUARDS[guard].faults(1, JOBS))
    assert control.violation is None, f"also with the guard: {control.violation}"


def test_without_faults_every_job_succeeds_and_pays_each_image_once() -> None:
    result = run(1, 20, Faults(Random(1)))
    assert result.violation is None
    assert result.states == {"SUCCEEDED": 20}
    assert result.billed == result.images == 60
    assert result.wasted == 0
    assert result.slowest < 60


def test_same_seed_gives_the_same_run() -> None:
    first, second = run(5, 15), run(5, 15)
    assert first == second
    assert first.trace != run(6, 15).trace


@pytest.mark.parametrize("kind", REPLICATE_OUTAGES)
def test_outage_of_twenty_minutes_fails_no_image(kind: str) -> None:
    result = run(1, JOBS, Faults.of_outage(kind, 20 * 60, 1))
    assert result.violation is None
    assert result.states == {"SUCCEEDED": JOBS}
    assert result.billed == result.images == 3 * JOBS
    assert result.wasted == 0


@pytest.mark.parametrize("kind", sorted(REPLICATE_OUTAGES.keys() - {"slow"}))
def test_outage_beyond_the_deadline_is_reported_and_costs_nothing(kind: str) -> None:
    result = run(1, JOBS, Faults.of_outage(kind, 40 * 60, 1))
    assert result.violation is None
    assert result.states == {"FAILED": JOBS}
    assert result.failures == {"deadline_exceeded": 3 * JOBS}
    assert result.billed == result.wasted == 0


def test_requests_per_job_do_not_grow_with_the_jobs() -> None:
    """Count requests per job, without the clients' polls and without those that depend on the clock (token, secret)."""

    def requests_per_job(jobs: int) -> dict[str, float]:
        with Cloud(Faults(Random(1))) as cloud:
            for number in range(jobs):
                cloud.engine.after(10.0 * number, Client(cloud, number).start)
            cloud.engine.run(10.0 * jobs + END)
            made = Counter(cloud.requests)
        uncounted = {
            "api: DynamoDB GetItem",
            "announce: DynamoDB UpdateItem",  # one in ten seconds
            "generate: SSM GetParameter",
            "webhook: SSM GetParameter",
        }
        return {
            request: times / jobs
            for request, times in made.items()
            if request not in uncounted and not request.endswith("secret")
        }

    few, many = requests_per_job(5), requests_per_job(50)
    assert few["generate: Replicate create"] == 3
    assert few.keys() == many.keys()
    for request, times in many.items():
        # Two concurrent webhooks can cost a lost race, which repeats requests.
        assert times <= 1.1 * few[request], request


@pytest.mark.parametrize("kind", ["create_cut_before", "create_cut_after"])
def test_busy_account_settles_every_doubt_in_three_minutes(kind: str) -> None:
    """Cut all 48 POSTs of 16 jobs, while the account creates 600 other predictions a minute."""
    faults = Faults(Random(1), {kind: 1.0}, others_per_minute=600, until=40)
    with Cloud(faults) as cloud:
        for number in range(16):
            cloud.engine.after(number, Client(cloud, number).start)
        over = cloud.engine.run(END)
        cloud.checks.at_the_end(over=over)
        lists = sum(request.endswith("Replicate list") for request in cloud.requests)
        slowest = max(cloud.checks.ended_at.values())
    doubts = faults.injected[kind]
    assert doubts >= 45
    assert cloud.checks.summary() == {"SUCCEEDED": 16}
    assert len(cloud.replicate.predictions) == 48
    assert slowest < faults.until + 180
    assert lists <= 20 * doubts


@pytest.mark.parametrize(
    ("faults", "kind", "most"),
    [
        (Faults(Random(1), {"webhook_dropped": 0.1}), "webhook_dropped", 75),
        (Faults(Random(1), {"create_cut_before": 0.05, "create_cut_after": 0.05}), "create_cut_after", 200),
    ],
    ids=["webhooks lost", "answers cut"],
)
def test_jobs_of_a_bad_day_end_within_minutes(faults: Faults, kind: str, most: float) -> None:
    found = day(60, faults)
    assert faults.injected[kind] >= 5
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 60}
    assert max(found.seconds) < most
    assert found.late_looks <= 1.2 * 60


def test_jobs_end_though_a_process_is_killed_every_ten_seconds() -> None:
    """A job may lose both `generate` and the look that replaces it. SQS repeats that look after 45 s."""
    found = day(60, Faults(Random(1)), kill_every=10)
    assert found.kills.total() == 60
    assert found.kills["generate: Replicate create"] >= 5
    assert found.kills["webhook: Replicate download"] >= 5
    assert found.kills["generate: DynamoDB PutItem"] >= 1
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 60}
    assert sorted(found.seconds)[56] < 150
    assert max(found.seconds) < 600
    assert found.late_looks <= 1.2 * 60


def test_burst_finishes_as_fast_as_replicates_limit_allows() -> None:
    """Run `python -m tests.benchmarks burst` with a third of its jobs and limit."""
    found = drain(333, 60, per_minute=200, burst=200)
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 333}
    assert found.predictions == found.images == 999
    assert found.last_created <= 1.06 * found.allowed


def test_bombs_do_not_hold_up_other_owners_photos() -> None:
    """Each bomb takes all the CPU time that it gets. Without the line, the good photos come after all of them: 60 s."""
    found = bombed((30,), (1.0, 3.0, 5.0), cpu_seconds=CPU_SECONDS)
    assert found.violation is None
    assert found.states == {"FAILED": 30, "SUCCEEDED": 3}
    assert max(one.asked for one in found.good) < 30


def test_bombs_that_the_watchdog_finds_unopened_hold_up_nobody() -> None:
    """It sends a message for each of them. If those were opened out of turn, the good photos would wait for 90 s."""
    found = bombed((30,), (62.0, 65.0, 70.0), cpu_seconds=CPU_SECONDS, uploads=BEFORE_THE_FIRST_LOOK)
    assert found.violation is None
    assert found.states == {"FAILED": 30, "SUCCEEDED": 3}
    assert max(one.asked for one in found.good) < 30


def test_low_credit_makes_images_in_turn_with_few_refused_requests() -> None:
    """Replicate allows an account with little credit six predictions a minute, one at a time."""
    found = drain(5, 5, per_minute=6, burst=1)
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 5}
    assert found.predictions == found.images == 15
    assert found.requests <= 5 * found.images
    assert found.last_created <= 1.5 * found.allowed


def test_process_that_others_starve_holds_up_no_other_owner() -> None:
    """It would back off, with the single job in its hand, while the other process creates a prediction each second."""
    found = crowd((40,), per_minute=60, burst=1, newcomer_at=20, seed=16)
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 41}
    assert found.newcomer_asked < 30
    assert found.requests_for_image < 1.3


def test_job_waits_longer_than_one_message_lives() -> None:
    """These jobs wait longer than a message's 20 receives of at most 15 s."""
    found = drain(30, 30, per_minute=6, burst=1)
    assert found.violation is None
    assert found.states == {"SUCCEEDED": 30}
    assert found.last_created <= 1.2 * found.allowed

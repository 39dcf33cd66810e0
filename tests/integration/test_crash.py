"""A crash at every step: [crashes.py](crashes.py) kills the functions of one job at each of their requests.

The test of the plain job uses moto's DynamoDB, S3 and SSM. The others use the simulation's stand-ins, which tests
compare with moto.
"""

from __future__ import annotations

import pytest

from tests.integration.crashes import Scenario, broken, every_pair, every_step, random_pairs
from tests.simulation.moto_aws import moto_aws
from triptych.job import JobStatus

PLAIN = Scenario()
CANCELED = (
    JobStatus.CANCELED,
    JobStatus.SUCCEEDED,
)  # a crash can delay the request of the owner until the end
# Predictions end long after a cancellation: one that is not canceled is noticed.
SLOW = {"finished_late": 1.0}
NEVER_UPLOADED = {"client_never_uploads": 1.0}

SCENARIOS = {
    "no webhook": Scenario({"webhook_dropped": 1.0}),
    "prepared photo": Scenario({"client_uploads_large": 1.0}),
    "adoption": Scenario({"create_cut_after": 1.0}, for_seconds=60),
    "doubled": Scenario(
        {"create_cut_after": 1.0, "create_doubled": 1.0, "finished_late": 1.0},
        for_seconds=60,
        most_predictions=6,
        longest_doubled=420,
    ),
    "low credit": Scenario(low_credit=True),
    "announce": Scenario({"event_refused": 1.0}, for_seconds=300),
    "cancel": Scenario(SLOW, actions=((12, "cancel"),), statuses=CANCELED),
    "delete": Scenario(SLOW, actions=((12, "delete"),)),
    "cancel, then delete": Scenario(SLOW, actions=((12, "cancel"), (12.1, "delete"))),
    "retry": Scenario(
        {"prediction_failed": 1.0}, for_seconds=60, actions=((200, "retry"),), most_predictions=6
    ),
    "retry, then delete": Scenario(
        {"prediction_failed": 1.0},
        for_seconds=60,
        later=SLOW,
        actions=((200, "retry"), (200.2, "delete")),
        most_predictions=6,
    ),
    "reclaimed output": Scenario({"download_cut": 1.0}, for_seconds=2000, actions=((2100, "retry"),)),
    "photo used again": Scenario(actions=((100, "order again"),), most_predictions=6),
}
SHORTEST = {
    "cancel before the photo": Scenario(
        NEVER_UPLOADED, actions=((12, "cancel"),), statuses=(JobStatus.CANCELED, JobStatus.EXPIRED)
    ),
    "delete before the photo": Scenario(NEVER_UPLOADED, actions=((12, "delete"),)),
}


def test_crash_at_any_step_loses_and_bills_nothing() -> None:
    with moto_aws():
        plans, found = broken(PLAIN, every_step, moto=True)
    assert plans > 40
    assert found == []


def test_second_crash_loses_and_bills_nothing() -> None:
    _, found = broken(PLAIN, random_pairs)
    assert found == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_crash_in_a_rarer_flow_breaks_no_promise(name: str) -> None:
    plans, found = broken(SCENARIOS[name], every_step)
    assert plans > 40
    assert found == []


@pytest.mark.timeout(900)  # seconds; the usual 300 are not enough on a busy machine
@pytest.mark.parametrize("name", SHORTEST)
def test_each_pair_of_crashes_breaks_no_promise(name: str) -> None:
    plans, found = broken(SHORTEST[name], every_pair)
    assert plans > 200
    assert found == []

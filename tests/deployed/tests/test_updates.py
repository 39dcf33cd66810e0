"""The setting that takes a bad update back. botocore checks each request against AWS's own model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from tests.deployed import command, updates
from tests.deployed.stack import Stack
from tests.deployed.verdict import ProblemError
from tests.localcloud.template import load

ALARMS = {name: f"triptych-{name}-A1B2" for name in updates.TRIGGERS}


def arn(alarm: str) -> str:
    return f"arn:aws:cloudwatch:eu-west-1:123456789012:alarm:{alarm}"


class World:
    """A stack whose two clients answer as the test says."""

    def __init__(self) -> None:
        session = boto3.Session("key", "secret", region_name="eu-west-1")
        self.stack = Stack(session, "triptych")
        self.stack.client.cache_clear()
        self.cloudformation = Stubber(self.stack.client("cloudformation"))
        self.cloudwatch = Stubber(self.stack.client("cloudwatch"))

    def describe(self, status: str = "UPDATE_COMPLETE", watched: list[str] | None = None) -> None:
        found: dict[str, Any] = {
            "StackName": "triptych",
            "CreationTime": "2026-01-01T00:00:00Z",
            "StackStatus": status,
            "Parameters": [
                {"ParameterKey": "ImageCount", "ParameterValue": "4"},
                {"ParameterKey": "TimeZone", "ParameterValue": "Asia/Seoul"},
            ],
        }
        if watched:
            found["RollbackConfiguration"] = self.expected(watched, 15)["RollbackConfiguration"]
        self.cloudformation.add_response("describe_stacks", {"Stacks": [found]}, {"StackName": "triptych"})

    def list_alarms(self, state: str = "OK", alarms: dict[str, str] = ALARMS) -> None:
        summaries = [
            {
                "LogicalResourceId": name,
                "PhysicalResourceId": physical,
                "ResourceType": "AWS::CloudWatch::Alarm",
                "LastUpdatedTimestamp": "2026-01-01T00:00:00Z",
                "ResourceStatus": "CREATE_COMPLETE",
            }
            for name, physical in {**alarms, "WebhooksRejected": "triptych-WebhooksRejected-C3"}.items()
        ]
        self.cloudformation.add_response(
            "list_stack_resources", {"StackResourceSummaries": summaries}, {"StackName": "triptych"}
        )
        answer = [
            {"AlarmName": name, "AlarmArn": arn(name), "StateValue": state}
            for name in sorted(alarms.values())
        ]
        asked = {"AlarmNames": sorted(alarms.values())}
        self.cloudwatch.add_response("describe_alarms", {"MetricAlarms": answer}, asked)

    def expected(self, alarms: list[str], minutes: int) -> dict[str, Any]:
        return {
            "StackName": "triptych",
            "UsePreviousTemplate": True,
            "Parameters": [
                {"ParameterKey": "ImageCount", "UsePreviousValue": True},
                {"ParameterKey": "TimeZone", "UsePreviousValue": True},
            ],
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            "RollbackConfiguration": {
                "RollbackTriggers": [{"Arn": arn(name), "Type": "AWS::CloudWatch::Alarm"} for name in alarms],
                "MonitoringTimeInMinutes": minutes,
            },
        }


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with made.cloudformation, made.cloudwatch:
        yield made
    made.cloudformation.assert_no_pending_responses()
    made.cloudwatch.assert_no_pending_responses()


def test_alarms_are_set_and_everything_else_is_kept(world: World) -> None:
    world.describe()
    world.list_alarms()
    both = sorted(ALARMS.values())
    world.cloudformation.add_response("update_stack", {"StackId": "id"}, world.expected(both, 15))
    assert "ApiServerErrors and FunctionErrors for 15 minutes" in updates.watch(world.stack, 15)


def test_zero_minutes_end_the_watch_after_a_rollback(world: World) -> None:
    """An alarm may still be on. It is not asked."""
    world.describe("UPDATE_ROLLBACK_COMPLETE", watched=sorted(ALARMS.values()))
    world.cloudformation.add_response("update_stack", {"StackId": "id"}, world.expected([], 0))
    assert "CloudFormation watches no alarm after an update." in updates.watch(world.stack, 0)


@pytest.mark.parametrize("minutes", [0, 15])
def test_setting_that_is_already_so_updates_nothing(world: World, minutes: int) -> None:
    world.describe(watched=sorted(ALARMS.values()) if minutes else None)
    if minutes:
        world.list_alarms()
    assert "already so" in updates.watch(world.stack, minutes)


def test_other_time_is_set(world: World) -> None:
    both = sorted(ALARMS.values())
    world.describe(watched=both)
    world.list_alarms()
    world.cloudformation.add_response("update_stack", {"StackId": "id"}, world.expected(both, 30))
    assert "for 30 minutes" in updates.watch(world.stack, 30)


def test_alarm_that_is_on_is_no_trigger(world: World) -> None:
    world.describe()
    world.list_alarms("ALARM")
    with pytest.raises(ProblemError, match=r"triptych-ApiServerErrors-A1B2 and .* is on"):
        updates.watch(world.stack, 15)


def test_stack_without_its_alarms_is_not_updated(world: World) -> None:
    world.describe()
    world.list_alarms(alarms={"ApiServerErrors": ALARMS["ApiServerErrors"]})
    with pytest.raises(ProblemError, match="does not have the alarms"):
        updates.watch(world.stack, 15)


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"])
def test_stack_in_another_update_is_left_alone(world: World, status: str) -> None:
    world.describe(status)
    with pytest.raises(ProblemError, match=rf"triptych is {status}\. .*Wait"):
        updates.watch(world.stack, 15)


def test_refusal_without_a_change_says_what_to_do(world: World) -> None:
    world.describe()
    world.list_alarms()
    world.cloudformation.add_client_error(
        "update_stack", "ValidationError", f"{updates.NO_CHANGE}.", http_status_code=400
    )
    with pytest.raises(ProblemError, match="Set it in the console with your next change"):
        updates.watch(world.stack, 15)


def test_triggers_are_alarms_of_the_template() -> None:
    resources = load().resources
    assert {resources[name].type for name in updates.TRIGGERS} == {"AWS::CloudWatch::Alarm"}


@pytest.mark.parametrize("minutes", ["-1", "46", "soon"])
def test_minutes_that_sam_cli_cannot_wait_are_refused(minutes: str) -> None:
    with pytest.raises(SystemExit):
        command.main(["--stack", "triptych", "--watch-updates", minutes])


def test_command_sets_the_watch_and_judges_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(updates, "watch", lambda stack, minutes: f"{stack.name}: {minutes}")
    options = ["--stack", "triptych", "--region", "eu-west-1", "--watch-updates"]
    assert command.main([*options, "20"]) == 0

    def refuse(*_: object) -> str:
        raise ProblemError("An alarm is on.")

    monkeypatch.setattr(updates, "watch", refuse)
    assert command.main([*options, "20"]) == 1
    assert capsys.readouterr() == ("triptych: 20\n", "An alarm is on.\n")

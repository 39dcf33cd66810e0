"""Updates that take themselves back: the alarms that CloudFormation watches after each update of the stack.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-rollback-triggers.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tests.deployed.ground import DEPLOY_AGAIN, of_status
from tests.deployed.verdict import ProblemError

if TYPE_CHECKING:
    from tests.deployed.stack import Stack

TRIGGERS = ("ApiServerErrors", "FunctionErrors")  # logical ids of the alarms
# Minutes. CloudFormation's limit is 180, but SAM CLI waits for an update at most 60: https://github.com/aws/aws-sam-cli/issues/4478
MOST = 45
NO_CHANGE = "No updates are to be performed"


def watch(stack: Stack, minutes: int) -> str:
    """Let CloudFormation watch the alarms for `minutes` after each update; 0 ends it. Return what was set.

    CloudFormation keeps the setting for every later update, also for those of SAM CLI, which has no option for it.

    Raises:
        ProblemError: The setting would do harm or is refused. The message says what to do.
        ClientError: AWS refused for another reason.
    """
    status = str(stack.description["StackStatus"])
    if status.endswith("_IN_PROGRESS"):
        raise ProblemError(f"{stack.name} is {status}. {of_status(status)}")
    triggers = _alarms(stack) if minutes else []
    wanted = {"RollbackTriggers": triggers, "MonitoringTimeInMinutes": minutes}
    if _is_set(stack.description.get("RollbackConfiguration", {}), wanted):
        return f"It is already so: {_what(minutes)}"
    try:
        stack.client("cloudformation").update_stack(
            StackName=stack.name,
            UsePreviousTemplate=True,
            # A parameter that is not named would get its default.
            Parameters=[{"ParameterKey": name, "UsePreviousValue": True} for name in stack.parameters],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            RollbackConfiguration=wanted,
        )
    except ClientError as error:
        if NO_CHANGE not in str(error):
            raise
        # AWS documents neither that this setting alone is an update nor that it is none. A team reports that the same
        # request works on stacks that exist: https://github.com/aws/aws-cdk/issues/5170 (2023-03-12). MiniStack refuses it.
        raise ProblemError(
            "CloudFormation changes this setting only together with something else of the stack. Set it in the console "
            "with your next change: the stack, Update, Rollback configuration."
        ) from error
    return f"CloudFormation is asked to update the stack. When the update has succeeded: {_what(minutes)}"


def _what(minutes: int) -> str:
    if not minutes:
        return "CloudFormation watches no alarm after an update."
    return (
        f"CloudFormation watches {' and '.join(TRIGGERS)} for {minutes} minutes after each update, which lasts as "
        "much longer."
    )


def _is_set(given: dict[str, Any], wanted: dict[str, Any]) -> bool:
    arns = [
        sorted(one["Arn"] for one in configuration.get("RollbackTriggers", []))
        for configuration in (given, wanted)
    ]
    return arns[0] == arns[1] and given.get("MonitoringTimeInMinutes", 0) == wanted["MonitoringTimeInMinutes"]


def _alarms(stack: Stack) -> list[dict[str, Any]]:
    names = {name: one for name, one in stack.of_kind("AWS::CloudWatch::Alarm").items() if name in TRIGGERS}
    found = stack.client("cloudwatch").describe_alarms(AlarmNames=sorted(names.values()))["MetricAlarms"]
    if len(found) != len(TRIGGERS):
        raise ProblemError(f"The stack does not have the alarms {' and '.join(TRIGGERS)}. {DEPLOY_AGAIN}")
    on = [alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"]
    if on:
        raise ProblemError(
            f"{' and '.join(on)} is on, so CloudFormation may take every update back. Correct the cause first."
        )
    return [{"Arn": alarm["AlarmArn"], "Type": "AWS::CloudWatch::Alarm"} for alarm in found]

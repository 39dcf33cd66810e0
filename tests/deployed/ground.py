"""The checks before anything is spent. Each returns what it found, or raises what is wrong and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.deployed.replicate_account import ReplicateAccount
from tests.deployed.verdict import NotJudgedError, ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from tests.deployed.stack import Stack

SHARDS = 4  # of a new table's stream, at most
SMALLEST_LAYER = 1000  # bytes; an empty ZIP file has 22
DEPLOY_AGAIN = "Deploy again: sam build && sam deploy."
DELETE_FIRST = (
    "The first deployment failed. Read the stack's events and delete the stack, as the last point of the section "
    "Remove in functions/README.md says. Then deploy again."
)
ADVICE = {
    "ROLLBACK_COMPLETE": DELETE_FIRST,
    "ROLLBACK_FAILED": DELETE_FIRST,
    "UPDATE_ROLLBACK_FAILED": (
        "The last deployment could not be taken back. Run aws cloudformation continue-update-rollback."
    ),
}
OUTPUTS = (
    "ApiUrl",
    "WebhookUrl",
    "Bucket",
    "Table",
    "LogGroup",
    "GenerationDeadLetterQueueUrl",
    "WatchdogDeadLetterQueueUrl",
    "AnnounceDeadLetterQueueUrl",
)


@dataclass
class Ground:
    """The checks of one stack, in their order."""

    stack: Stack
    http: httpx.Client
    _account: list[ReplicateAccount] = field(default_factory=list)
    _is_accepted: bool = False

    @property
    def replicate(self) -> ReplicateAccount:
        """The account behind the token.

        Raises:
            NotJudgedError: The token was not readable.
        """
        if not self._account:
            raise NotJudgedError("The token is not readable.")
        return self._account[0]

    @property
    def accepted(self) -> ReplicateAccount:
        """The account, if Replicate has accepted the token.

        Raises:
            NotJudgedError: It has not.
        """
        if not self._is_accepted:
            raise NotJudgedError("Replicate has not accepted the token.")
        return self.replicate

    def needed(self) -> dict[str, Callable[[], str]]:
        """Return the checks without which no other makes sense."""
        return {"region": self.region, "credentials": self.credentials, "stack": self.status}

    def others(self) -> dict[str, Callable[[], str]]:
        return {
            "token": self.token,
            "Replicate's account": self.account,
            "model": lambda: self.accepted.find(self.stack.parameters["ReplicateModel"]),
            "credit": self.credit,
            "concurrency": self.concurrency,
            "functions": self.functions,
            "layers": self.layers,
            "triggers": self.triggers,
            "recursion": self.recursion,
            "throttles": self.throttles,
            "log retention": self.log_retention,
            "alarms": self.alarms,
            "dead letters": self.dead_letters,
        }

    # ── without these there is nothing to judge ──

    def region(self) -> str:
        region = self.stack.session.region_name
        if not region:
            raise ProblemError("No region is set. Add --region, or set AWS_REGION.")
        emulator = self.stack.endpoint
        return f"{region}, on the emulator at {emulator}" if emulator else str(region)

    def credentials(self) -> str:
        try:
            found = self.stack.client("sts").get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            raise ProblemError(f"AWS accepts no credentials: {error} Sign in, or set AWS_PROFILE.") from error
        return f"{found['Arn']} in account {found['Account']}"

    def status(self) -> str:
        try:
            status = str(self.stack.description["StackStatus"])
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            raise ProblemError(
                f"There is no stack {self.stack.name} in this region. Correct --stack or --region."
            ) from None
        problem = of_status(status)
        if problem:
            raise ProblemError(f"The stack is {status}. {problem}")
        missing = [name for name in OUTPUTS if name not in self.stack.outputs]
        if missing:
            raise ProblemError(f"The stack has no output {', '.join(missing)}. Is it a stack of Triptych?")
        return f"{self.stack.name} is {status}"

    # ── Replicate ──

    def token(self) -> str:
        self._account.append(ReplicateAccount.of(self.stack, self.http))
        return f"{self.stack.parameters['ReplicateTokenParameter']} is readable and encrypted"

    def account(self) -> str:
        who = self.replicate.who()
        self._is_accepted = True
        return who

    def credit(self) -> str:
        raise NotJudgedError(
            "Replicate's API does not tell the credit. Look at https://replicate.com/account/billing."
        )

    # ── Lambda ──

    def concurrency(self) -> str:
        limits = self.stack.client("lambda").get_account_settings()["AccountLimit"]
        return enough_concurrency(
            limits["UnreservedConcurrentExecutions"],
            generate=self.stack.number("GenerateConcurrency") + self.stack.number("WaitingConcurrency"),
            watchdog=self.stack.number("WatchdogConcurrency"),
            announce=self.stack.number("AnnounceConcurrency"),
        )

    def functions(self) -> str:
        found = self.configurations()
        for name, one in found.items():
            if one.get("State", "Active") not in {"Active", "Inactive"}:
                raise ProblemError(f"{name} is {one['State']}: {one.get('StateReason', '')} {DEPLOY_AGAIN}")
            if one.get("LastUpdateStatus", "Successful") != "Successful":
                why = one.get("LastUpdateStatusReason", "")
                raise ProblemError(
                    f"The last update of {name} is {one['LastUpdateStatus']}: {why} {DEPLOY_AGAIN}"
                )
        return ", ".join(found)

    def layers(self) -> str:
        arns = self.stack.of_kind("AWS::Lambda::LayerVersion")
        attached = {
            name: {layer["Arn"] for layer in one.get("Layers", [])}
            for name, one in self.configurations().items()
        }
        for name, _, properties in self.stack.templates_of_kind("AWS::Lambda::Function"):
            wanted = [layer["Ref"] for layer in properties.get("Layers", [])]
            missing = [layer for layer in wanted if arns[layer] not in attached[name]]
            if missing:
                raise ProblemError(f"{name} runs without {', '.join(map(plain, missing))}. {DEPLOY_AGAIN}")
        for name, arn in arns.items():
            size = self.stack.client("lambda").get_layer_version_by_arn(Arn=arn)["Content"]["CodeSize"]
            if size < SMALLEST_LAYER:
                raise ProblemError(f"{plain(name)} is empty ({size} bytes). {DEPLOY_AGAIN}")
        return ", ".join(map(plain, arns)) + " are where the template names them"

    def triggers(self) -> str:
        found = {
            name: self.stack.client("lambda").get_event_source_mapping(UUID=uuid)["State"]
            for name, uuid in self.stack.of_kind("AWS::Lambda::EventSourceMapping").items()
        }
        wrong = [f"{name} is {state}" for name, state in found.items() if state != "Enabled"]
        if wrong:
            raise ProblemError(f"{', '.join(wrong)}. Enable the trigger in the console of Lambda.")
        return f"{len(found)} enabled"

    def recursion(self) -> str:
        allowed = []
        for name, function, properties in self.stack.templates_of_kind("AWS::Lambda::Function"):
            wanted = properties.get("RecursiveLoop", "Terminate")
            if wanted != "Allow":
                continue
            found = self.stack.client("lambda").get_function_recursion_config(FunctionName=function)
            if found["RecursiveLoop"] != wanted:
                raise ProblemError(
                    f"RecursiveLoop of {name} is {found['RecursiveLoop']}, so Lambda stops a job's looks after 16. "
                    f"Set it: aws lambda put-function-recursion-config --function-name {function} --recursive-loop Allow"
                )
            allowed.append(name)
        return f"allowed for {', '.join(allowed)}"

    def throttles(self) -> str:
        found, missing = [], []
        for name, _, properties in self.stack.templates_of_kind("AWS::ApiGatewayV2::Stage"):
            api = self.stack.of_kind("AWS::ApiGatewayV2::Api")["HttpApi"]
            stage = self.stack.client("apigatewayv2").get_stage(ApiId=api, StageName=properties["StageName"])
            for route, wanted in properties.get("RouteSettings", {}).items():
                there = stage.get("RouteSettings", {}).get(route, {})
                if not wanted.items() <= there.items():
                    missing.append(f"{name} does not throttle {route} by itself")
                found.append(f"{route}: {wanted['ThrottlingRateLimit']} a second")
        if missing:
            raise ProblemError(
                f"{', '.join(missing)}, so strangers' calls can use up the clients' limit. {DEPLOY_AGAIN}"
            )
        return ", ".join(found)

    def configurations(self) -> dict[str, dict[str, Any]]:
        """Return each function's configuration, by its logical id."""
        client = self.stack.client("lambda")
        return {
            name: client.get_function_configuration(FunctionName=function)
            for name, function in self.stack.of_kind("AWS::Lambda::Function").items()
        }

    # ── what is watched ──

    def log_retention(self) -> str:
        days = {}
        for name, group, properties in self.stack.templates_of_kind("AWS::Logs::LogGroup"):
            found = self.stack.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
            days[name] = next(
                (one.get("retentionInDays") for one in found if one["logGroupName"] == group), None
            )
            if days[name] != properties["RetentionInDays"]:
                raise ProblemError(
                    f"{group} keeps its lines for {days[name] or 'ever'}, not {properties['RetentionInDays']} days. "
                    f"{DEPLOY_AGAIN}"
                )
        return ", ".join(f"{name} {kept} days" for name, kept in days.items())

    def alarms(self) -> str:
        names = list(self.stack.of_kind("AWS::CloudWatch::Alarm").values())
        pages = self.stack.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNames=names)
        found = [alarm for page in pages for alarm in page["MetricAlarms"]]
        missing = set(names) - {alarm["AlarmName"] for alarm in found}
        if missing:
            raise ProblemError(f"There is no alarm {', '.join(sorted(missing))}. {DEPLOY_AGAIN}")
        return of_alarms({alarm["AlarmName"]: alarm for alarm in found})

    def dead_letters(self) -> str:
        return no_dead_letters(self.stack)


def no_dead_letters(stack: Stack) -> str:
    """Check that nothing is in the dead-letter queues."""
    urls = {name: url for name, url in stack.outputs.items() if name.endswith("DeadLetterQueueUrl")}
    for name, url in urls.items():
        answer = stack.client("sqs").get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        number = int(answer["Attributes"]["ApproximateNumberOfMessages"])
        if number:
            raise ProblemError(
                f"{name} holds {number} messages. Follow the section on dead letters in functions/README.md."
            )
    return f"none in {len(urls)} queues"


# ── rules ──


def of_status(status: str) -> str | None:
    """Return what is wrong with a stack of this status, or None."""
    match status.endswith("_IN_PROGRESS"), "ROLLBACK" in status:
        case True, False:
            return "Wait until the deployment has ended."
        case True, True:
            return "The last deployment failed. Wait until it has been taken back."
    if status in ADVICE:
        return ADVICE[status]
    if "ROLLBACK" in status:
        return "The last deployment failed and was taken back. Read the stack's events, then deploy again."
    if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}:
        return "Read the stack's events, then deploy again."
    return None


def enough_concurrency(limit: int, *, generate: int, watchdog: int, announce: int) -> str:
    """Check that the account's limit is enough when all triggers are busy.

    Raises:
        ProblemError: It is not.
    """
    triggers = generate + watchdog + SHARDS * announce
    if limit < triggers:
        raise ProblemError(
            f"The account runs {limit} functions at a time, and the triggers alone may take {triggers}. Ask AWS for "
            "more in Service Quotas (Lambda, Concurrent executions), or lower GenerateConcurrency."
        )
    return f"{limit} functions at a time, of which triggers take at most {triggers}"


def of_alarms(alarms: Mapping[str, Mapping[str, str]]) -> str:
    """Check that no alarm is on.

    Raises:
        ProblemError: One is. The message holds its description, which says what to do.
    """
    on = [
        f"{name} is on: {alarm.get('AlarmDescription', '')}"
        for name, alarm in alarms.items()
        if alarm["StateValue"] == "ALARM"
    ]
    if on:
        raise ProblemError(" ".join(on))
    fresh = sum(alarm["StateValue"] == "INSUFFICIENT_DATA" for alarm in alarms.values())
    return f"{len(alarms)} alarms are off" + (f", {fresh} of them without data yet" if fresh else "")


def plain(layer: str) -> str:
    """Return a layer's logical id in the template: SAM appends a hash."""
    name, found, _ = layer.partition("Layer")
    return name + found

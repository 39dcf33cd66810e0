"""An update from any earlier release loses no data, URL, id or name.

`tests/releases` holds the template.yaml of each release. Add yours: `cp template.yaml tests/releases/VERSION.yaml`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # no py.typed

from tests.environment import ROOT
from tests.localcloud.template import TEMPLATE, TemplateError
from tests.unit.template_plan import Plan, Planned, at, collisions, frozen, plan

RELEASES = sorted((ROOT / "tests/releases").glob("*.yaml"))
STACKS: dict[str, dict[str, str]] = {
    "defaults": {},
    "own issuer": {"JwtIssuer": "https://issuer.example", "JwtAudience": "triptych"},
    "no page": {"ServePage": "false"},
    "callback": {"CallbackUrl": "https://example.com/ends"},
}

# Type → the loss when a resource of this type is replaced.
LASTING = {
    "AWS::ApiGatewayV2::Api": "the URL that clients hold, and that Replicate calls",
    "AWS::Cognito::UserPool": "the users",
    "AWS::Cognito::UserPoolClient": "the id that clients sign in with",
    "AWS::DynamoDB::Table": "the jobs",
    "AWS::Logs::LogGroup": "the logs",
    "AWS::S3::Bucket": "the photos and outputs",
    "AWS::SNS::Topic": "the subscriptions",
    "AWS::SQS::Queue": "the messages in it, and a job with each",
    "AWS::SecretsManager::Secret": "the key that the server at CallbackUrl knows",
}
# Types that can be replaced at any time.
REPLACEABLE = {
    "AWS::ApiGatewayV2::Stage",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::Events::ApiDestination",
    "AWS::Events::Connection",
    "AWS::Events::Rule",
    "AWS::IAM::Role",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Permission",
    "AWS::Logs::MetricFilter",
    "AWS::Logs::QueryDefinition",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
}


def problems(old: Plan, after: Path) -> list[str]:
    """List the losses of an update of the stack to the template at `after`."""
    try:
        new = plan(after, old.parameters)  # an update keeps each parameter's value
    except TemplateError as error:
        return [str(error)]
    return [*_of_resources(old, new), *_of_outputs(old, new)]


def _of_resources(old: Plan, new: Plan) -> Iterator[str]:
    for name, was in old.resources.items():
        if was.type not in LASTING:
            continue
        lost = LASTING[was.type]
        now = new.resources.get(name)
        if now is None or now.type != was.type:
            yield f"{name} ({was.type}) is gone: {lost}"
            continue
        for pointer in frozen(was.type):
            if at(was.properties, pointer) != at(now.properties, pointer):
                yield f"{name} ({was.type}) is replaced, since {pointer} changes: {lost}"
        yield from _of_policies(name, was, now)
        yield from _of_indexes(name, was, now)


def _of_policies(name: str, was: Planned, now: Planned) -> Iterator[str]:
    for policy, before, after in (
        ("DeletionPolicy", was.deletion_policy, now.deletion_policy),
        ("UpdateReplacePolicy", was.update_replace_policy, now.update_replace_policy),
    ):
        if before != "Delete" and after == "Delete":
            yield f"{name}: {policy} was {before}"


def _of_indexes(name: str, was: Planned, now: Planned) -> Iterator[str]:
    """An update may add one index. The functions that still run would miss a removed or changed one.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html
    """
    before, after = (_indexes(one) for one in (was, now))
    for index, definition in before.items():
        if after.get(index) != definition:
            yield f"{name}: the index {index} is gone or another"
    if len(after) > len(before) + 1:
        yield f"{name}: more than one new index in an update"


def _indexes(table: Planned) -> dict[str, Any]:
    listed: Any = at(table.properties, "/GlobalSecondaryIndexes") or []
    return {index["IndexName"]: index for index in listed}


def _of_outputs(old: Plan, new: Plan) -> Iterator[str]:
    for name in old.outputs.keys() - new.outputs.keys():
        yield f"the output {name} is gone"


@pytest.mark.parametrize("overrides", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("release", RELEASES, ids=[release.stem for release in RELEASES])
def test_an_update_from_an_earlier_release_loses_nothing(release: Path, overrides: dict[str, str]) -> None:
    assert problems(plan(release, overrides), TEMPLATE) == []


def test_earlier_releases_are_found() -> None:
    assert RELEASES


def test_every_resource_type_is_lasting_or_replaceable() -> None:
    types = {one.type for stack in STACKS.values() for one in plan(overrides=stack).resources.values()}
    assert types - LASTING.keys() - REPLACEABLE == set()
    assert not LASTING.keys() & REPLACEABLE


type Edit = Callable[[dict[str, Any]], None]


def sets(path: str, value: object) -> Edit:
    """Return an edit that puts `value` at the path, or deletes the path if `value` is None."""

    def edit(document: dict[str, Any]) -> None:
        *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        place: Any = document
        for step in way:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return edit


def renames(name: str) -> Edit:
    """Return an edit that gives a resource another logical id everywhere."""

    def edit(document: dict[str, Any]) -> None:
        # Except where the same word is a type.
        text = re.sub(rf'(?<!::)(?<!"Type": ")\b{name}\b', f"Other{name}", json.dumps(document))
        document.clear()
        document.update(json.loads(text))

    return edit


TABLE, BUCKET, POOL = "Resources/JobsTable", "Resources/PhotosBucket", "Resources/UserPool"
LOSSES: dict[str, tuple[Edit, str]] = {
    "the API has another id": (renames("HttpApi"), "HttpApi .* is gone: the URL"),
    "the table has another id": (renames("JobsTable"), "JobsTable .* is gone: the jobs"),
    "the pool has another id": (renames("UserPool"), "UserPool .* is gone: the users"),
    "a queue is a topic": (
        sets("Resources/AnnounceDeadLetterQueue", {"Type": "AWS::SNS::Topic"}),
        "AnnounceDeadLetterQueue .* is gone",
    ),
    "the table has a name": (sets(f"{TABLE}/Properties/TableName", "jobs"), "JobsTable .*/TableName"),
    "the table has another key": (
        sets(f"{TABLE}/Properties/KeySchema/0/AttributeName", "owner"),
        "JobsTable .*/KeySchema",
    ),
    "the index has another projection": (
        sets(f"{TABLE}/Properties/GlobalSecondaryIndexes/0/Projection", {"ProjectionType": "KEYS_ONLY"}),
        "the index by-owner is gone or another",
    ),
    "the bucket has another name": (
        sets(f"{BUCKET}/Properties/BucketName", {"Fn::Sub": "${AWS::StackName}-pictures"}),
        "PhotosBucket .*/BucketName",
    ),
    "a queue has a name": (
        sets("Resources/WatchdogQueue/Properties/QueueName", "watchdog"),
        "WatchdogQueue .*/QueueName",
    ),
    "a queue is FIFO": (
        sets("Resources/GenerationQueue/Properties/FifoQueue", value=True),
        "GenerationQueue .*/FifoQueue",
    ),
    "users sign in with another attribute": (
        sets(f"{POOL}/Properties/UsernameAttributes", ["phone_number"]),
        "UserPool .*/UsernameAttributes",
    ),
    "the client has a secret": (
        sets("Resources/UserPoolClient/Properties/GenerateSecret", value=True),
        "UserPoolClient .*/GenerateSecret",
    ),
    "the key is generated again": (
        sets("Resources/CallbackKey/Properties/GenerateSecretString/PasswordLength", 41),
        "CallbackKey .*/GenerateSecretString",
    ),
    "the log group has a name": (
        sets("Resources/FunctionLogs/Properties/LogGroupName", "triptych"),
        "FunctionLogs .*/LogGroupName",
    ),
    "the table is deleted with the stack": (
        sets(f"{TABLE}/DeletionPolicy", None),
        "JobsTable: DeletionPolicy was",
    ),
    "a replaced bucket is deleted": (
        sets(f"{BUCKET}/UpdateReplacePolicy", "Delete"),
        "PhotosBucket: UpdateReplacePolicy was",
    ),
    "an output is removed": (sets("Outputs/ApiUrl", None), "the output ApiUrl is gone"),
    "a parameter is removed": (
        renames("DefaultPrompt"),
        "there is no parameter DefaultPrompt",
    ),
    "a parameter accepts less": (
        sets("Parameters/RetentionDays/MaxValue", 29),
        "parameter RetentionDays is '30': it must be at most 29",
    ),
}


def edited(edit: Edit, path: Path) -> Path:
    """Write the edited template into the folder `path`; return the file."""
    document = json.loads(json.dumps(yaml_parse(TEMPLATE.read_text())))
    edit(document)
    file = path / "template.yaml"
    file.write_text(json.dumps(document))
    return file


@pytest.fixture(scope="module")
def stack() -> Plan:
    """Plan a stack of the current template with all its resources."""
    return plan(overrides=STACKS["callback"])


@pytest.mark.parametrize(("edit", "complaint"), LOSSES.values(), ids=LOSSES)
def test_each_loss_is_found(stack: Plan, tmp_path: Path, edit: Edit, complaint: str) -> None:
    found = problems(stack, edited(edit, tmp_path))
    assert any(re.search(complaint, problem) for problem in found), found


def test_additions_are_not_losses(stack: Plan, tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["Resources"]["Another"] = {"Type": "AWS::SQS::Queue"}
        document["Outputs"]["Another"] = {"Value": {"Ref": "Another"}}
        document["Parameters"]["RetentionDays"]["Default"] = 60
        document["Resources"]["JobsTable"]["DeletionPolicy"] = "Retain"
        document["Resources"]["GenerationQueue"]["Properties"]["VisibilityTimeout"] = 300

    assert problems(stack, edited(edit, tmp_path)) == []


@pytest.mark.parametrize("overrides", STACKS.values(), ids=STACKS)
def test_two_stacks_in_one_account_and_region_share_nothing(overrides: dict[str, str]) -> None:
    one, other = (plan(overrides=overrides, stack_name=name) for name in ("triptych-dev", "triptych-prod"))
    assert collisions(one, other) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Resources/WatchdogQueue/Properties/QueueName", "watchdog"),
        ("Resources/GenerationDeadLetters/Properties/AlarmName", "dead letters"),
        ("Resources/PhotosBucket/Properties/BucketName", {"Fn::Sub": "photos-${AWS::AccountId}"}),
        ("Resources/CallbackRule/Properties/Name", "callback"),
        ("Resources/ApiFunction/Properties/FunctionName", "api"),
        ("Resources/FunctionLogs/Properties/LogGroupName", "/triptych"),
    ],
)
def test_shared_name_is_found(tmp_path: Path, path: str, name: object) -> None:
    file = edited(sets(path, name), tmp_path)
    one, other = (plan(file, STACKS["callback"], stack_name=stack) for stack in ("one", "other"))
    assert [found.split(" ")[0] for found in collisions(one, other)] == [path.split("/")[1]]

"""Why provision.py exists: moto's own CloudFormation drops types and properties of the template, and says nothing.

When a release of moto closes one of these gaps, its test fails. Then part of provision.py can go.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.environment import ROOT
from tests.localcloud.template import REGION

STACK = "triptych"
# The types that the local cloud creates on moto.
TYPES = {
    "AWS::Cognito::UserPool",
    "AWS::Cognito::UserPoolClient",
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::SecretsManager::Secret",
}
DROPPED_TYPES = TYPES - {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue"}


@pytest.fixture(scope="module")
def stack() -> Iterator[dict[str, str]]:
    """The physical ids of the resources that moto makes, by their types."""
    command = [sys.executable, "-m", "tests.localcloud.template"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    translated: dict[str, Any] = json.loads(done.stdout)
    resources = {name: one for name, one in translated["Resources"].items() if one["Type"] in TYPES}
    # CORS names the API, which moto does not make.
    text = json.dumps(resources).replace(
        '{"Fn::GetAtt": ["HttpApi", "ApiEndpoint"]}', '"https://app.example"'
    )
    resources = json.loads(text)
    for one in resources.values():
        one.pop("DependsOn", None)
    template = {
        "Parameters": translated["Parameters"],
        "Conditions": translated["Conditions"],
        "Resources": resources,
    }
    with mock_aws():
        formation = boto3.client("cloudformation", region_name=REGION)
        formation.create_stack(
            StackName=STACK,
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": "CallbackUrl", "ParameterValue": "http://127.0.0.1:9/"}],
        )
        assert formation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
        found = formation.list_stack_resources(StackName=STACK)["StackResourceSummaries"]
        yield {one["ResourceType"]: one["PhysicalResourceId"] for one in found}


def test_types_are_dropped_silently(stack: dict[str, str]) -> None:
    assert TYPES - stack.keys() == DROPPED_TYPES


@pytest.mark.parametrize(
    ("operation", "property_name"),
    [
        ("get_bucket_cors", "CorsConfiguration"),
        ("get_bucket_lifecycle_configuration", "LifecycleConfiguration"),
        ("get_public_access_block", "PublicAccessBlockConfiguration"),
        ("get_bucket_ownership_controls", "OwnershipControls"),
    ],
)
def test_setting_of_the_bucket_is_dropped_silently(
    stack: dict[str, str], operation: str, property_name: str
) -> None:
    assert f"{property_name}:" in (ROOT / "template.yaml").read_text()
    s3 = boto3.client("s3", region_name=REGION)
    with pytest.raises(ClientError, match=r"NoSuch|NotFound"):
        getattr(s3, operation)(Bucket=stack["AWS::S3::Bucket"])


def test_notifications_of_the_bucket_are_dropped_silently(stack: dict[str, str]) -> None:
    s3 = boto3.client("s3", region_name=REGION)
    found = s3.get_bucket_notification_configuration(Bucket=stack["AWS::S3::Bucket"])
    assert "QueueConfigurations" not in found


def test_time_to_live_and_recovery_are_dropped_silently(stack: dict[str, str]) -> None:
    dynamodb = boto3.client("dynamodb", region_name=REGION)
    table = stack["AWS::DynamoDB::Table"]
    ttl = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    backups = dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    assert ttl["TimeToLiveStatus"] == "DISABLED"
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "DISABLED"

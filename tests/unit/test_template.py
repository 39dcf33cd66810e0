"""template.yaml: callbacks, roles and permissions."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.localcloud.template import TemplateError, load, translate


@pytest.mark.parametrize("url", ["https://example.com/ends", "http://127.0.0.1:9/x?y", "http://localhost"])
def test_callback_may_be_https_or_local(url: str) -> None:
    assert "CallbackRule" in load(overrides={"CallbackUrl": url}).resources


@pytest.mark.parametrize(
    "url", ["http://example.com/", "http://localhost:x@example.com/", "ftp://localhost/"]
)
def test_remote_callback_over_http_is_refused(url: str) -> None:
    with pytest.raises(TemplateError, match="parameter CallbackUrl"):
        load(overrides={"CallbackUrl": url})


def test_callback_resources_are_absent_by_default() -> None:
    assert not [name for name in load().resources if name.startswith("Callback")]


def test_no_role_has_a_managed_policy() -> None:
    """SAM's default roles may read every queue and write every log of the account. None of them is used."""
    resources: Any = translate()["Resources"]
    roles = [
        resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::IAM::Role"
    ]
    assert len(roles) == 8
    assert not any("ManagedPolicyArns" in role for role in roles)
    trusted = [role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] for role in roles]
    assert sorted(principal["Service"] for principal in trusted) == [
        "events.amazonaws.com",
        *["lambda.amazonaws.com"] * 7,
    ]


def statements_of_roles() -> list[tuple[str, Any]]:
    """Return each role's logical id with each of its statements, as translated."""
    resources: Any = translate()["Resources"]
    return [
        (name, statement)
        for name, resource in resources.items()
        if resource["Type"] == "AWS::IAM::Role"
        for one in resource["Properties"]["Policies"]
        for policy in [one["Fn::If"][1] if "Fn::If" in one else one]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def test_every_permission_names_a_resource_of_the_stack() -> None:
    """Wildcards appear only below a folder of the bucket: `test_roles` cannot detect a wildcard that is too wide."""
    for role, statement in statements_of_roles():
        if statement["Action"] == "dynamodb:ListStreams":
            continue  # AWS supports no narrower resource
        named = statement["Resource"]
        for resource in named if isinstance(named, list) else [named]:
            assert resource != "*", (role, statement)
            text = str(resource.get("Fn::Sub", ""))
            assert "*" not in text or re.search(
                r"arn:\$\{AWS::Partition\}:s3:::(\$\{PhotosBucket\}|triptych-photos-\$\{Id\})/(uploads|prepared|outputs|previews)/\*"
                r"|\$\{AnnounceDeadLetterBucket.Arn\}/aws/lambda/\*",
                text,
            ), (role, text)


def test_every_role_names_the_bucket_that_the_stack_makes() -> None:
    """Some roles cannot refer to the bucket: its CORS rule refers to the API, and the API to their functions."""
    template = load()
    bucket = template.scope.resolve(template.resources["PhotosBucket"].properties["BucketName"])
    template.scope.refs["PhotosBucket"] = bucket
    template.scope.attributes["PhotosBucket"] = {"Arn": f"arn:aws:s3:::{bucket}"}
    found = {
        text
        for _, statement in statements_of_roles()
        for resource in [statement["Resource"]]
        for one in (resource if isinstance(resource, list) else [resource])
        if ":s3:::" in str(one) or "PhotosBucket" in str(one)
        for text in [template.scope.resolve(one)]
    }
    folders = ("", "/uploads/*", "/prepared/*", "/outputs/*", "/previews/*")
    assert found == {f"arn:aws:s3:::{bucket}{folder}" for folder in folders}
    for function in ("ApiFunction", "WebhookFunction", "GenerateFunction", "WatchdogFunction"):
        environment: Any = template.resources[function].properties["Environment"]
        assert template.scope.resolve(environment["Variables"]["BUCKET"]) == bucket


def test_conditions_that_narrow_permissions_are_kept() -> None:
    conditions = {
        (role, statement.get("Sid")): statement["Condition"]
        for role, statement in statements_of_roles()
        if "Condition" in statement
    }
    folders = ["uploads/*", "prepared/*", "outputs/*", "previews/*"]
    assert conditions == {
        ("ApiRole", "FindObjectsToDelete"): {"StringLike": {"s3:prefix": folders}},
        ("GenerateRole", "FindPhotos"): {"StringLike": {"s3:prefix": "uploads/*"}},
        ("WatchdogRole", "FindObjects"): {"StringLike": {"s3:prefix": folders}},
        **{
            (role, "Jobs"): {
                "ForAllValues:StringLike": {"dynamodb:LeadingKeys": "????????-????-????-????-????????????"}
            }
            for role in ("GenerateRole", "WebhookRole", "WatchdogRole")
        },
        ("AnnounceRole", "EndEvents"): {"ForAllValues:StringEquals": {"events:source": "triptych"}},
        **{
            (role, "ReplicateTokenKey"): {
                "StringLike": {"kms:ViaService": {"Fn::Sub": "ssm.${AWS::Region}.amazonaws.*"}}
            }
            for role in ("GenerateRole", "WebhookRole", "WatchdogRole")
        },
    }


def test_only_roles_without_transactions_are_bound_to_leading_keys() -> None:
    """AWS does not document whether dynamodb:LeadingKeys applies to the parts of TransactWriteItems."""
    bound = {
        role for role, statement in statements_of_roles() if "dynamodb:LeadingKeys" in json.dumps(statement)
    }
    assert bound.isdisjoint(
        {"ApiRole", "AnnounceRole"}
    )  # what they write, `aws.counts` writes in transactions


def test_only_own_rules_assume_the_callback_role() -> None:
    template = load(overrides={"CallbackUrl": "https://example.com/ends"})
    trust: Any = template.scope.resolve(
        template.resources["CallbackRole"].properties["AssumeRolePolicyDocument"]
    )
    (statement,) = trust["Statement"]
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": "arn:aws:events:us-east-1:123456789012:rule/*"},
    }


@pytest.mark.parametrize(
    "url",
    ["https://replicate.example/base", "http://localhost:3000", "http://127.0.0.1:80/v1", "http://[::1]:9"],
)
def test_replicates_api_may_be_https_or_local(url: str) -> None:
    assert load(overrides={"ReplicateBaseUrl": url}).parameters["ReplicateBaseUrl"] == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api.replicate.com",
        "http://localhost.example",
        "http://localhost:x@example.com/",
        "http://127.0.0.1@example.com",
        "ftp://localhost/",
    ],
)
def test_token_is_never_sent_over_http_to_a_remote_host(url: str) -> None:
    with pytest.raises(TemplateError, match="parameter ReplicateBaseUrl"):
        load(overrides={"ReplicateBaseUrl": url})


def test_eventbridge_may_send_to_the_queues_of_its_rules() -> None:
    """Without the permission, EventBridge would drop the event silently."""
    resources: Any = translate()["Resources"]
    allowed = {
        (
            statement["Resource"]["Fn::GetAtt"][0],
            statement["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::GetAtt"][0],
        )
        for one in resources.values()
        if one["Type"] == "AWS::SQS::QueuePolicy"
        for statement in one["Properties"]["PolicyDocument"]["Statement"]
        if statement["Principal"] == {"Service": "events.amazonaws.com"}
        and (statement["Effect"], statement["Action"]) == ("Allow", "sqs:SendMessage")
    }
    assert allowed == {
        ("CallbackDeadLetterQueue", "CallbackRule"),
        ("AnnounceDeadLetterQueue", "AnnounceDeadLetterRule"),
    }

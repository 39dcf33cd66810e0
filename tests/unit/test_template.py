"""template.yaml: callbacks, roles and permissions."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.localcloud.template import TemplateError, load, translate


def test_tokens_of_the_own_user_pool_live_shortly() -> None:
    client = load().resources["UserPoolClient"].properties
    units = {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "hours"}
    assert client["TokenValidityUnits"] == units
    assert (client["AccessTokenValidity"], client["IdTokenValidity"]) == (30, 30)
    assert client["RefreshTokenValidity"] == 12
    assert client["EnableTokenRevocation"] is True


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
    assert len(roles) == 7
    assert not any("ManagedPolicyArns" in role for role in roles)
    trusted = [role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] for role in roles]
    assert sorted(principal["Service"] for principal in trusted) == [
        "events.amazonaws.com",
        *["lambda.amazonaws.com"] * 6,
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
            text = resource.get("Fn::Sub", "")
            assert "*" not in text or re.fullmatch(
                r"arn:\$\{AWS::Partition\}:s3:::\$\{PhotosBucket\}/(uploads|prepared|outputs)/\*", text
            ), (role, text)


def test_conditions_that_narrow_permissions_are_kept() -> None:
    conditions = {
        (role, statement.get("Sid")): statement["Condition"]
        for role, statement in statements_of_roles()
        if "Condition" in statement
    }
    folders = ["uploads/*", "prepared/*", "outputs/*"]
    assert conditions == {
        ("ApiRole", "FindObjectsToDelete"): {"StringLike": {"s3:prefix": folders}},
        ("AnnounceRole", "EndEvents"): {"ForAllValues:StringEquals": {"events:source": "triptych"}},
        **{
            (role, "ReplicateTokenKey"): {
                "StringLike": {"kms:ViaService": {"Fn::Sub": "ssm.${AWS::Region}.amazonaws.*"}}
            }
            for role in ("GenerateRole", "WebhookRole", "WatchdogRole")
        },
    }


def test_no_condition_uses_leading_keys() -> None:
    """AWS does not document whether dynamodb:LeadingKeys applies to the parts of TransactWriteItems."""
    assert "dynamodb:LeadingKeys" not in json.dumps(statements_of_roles())

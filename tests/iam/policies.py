"""The roles' policies as the translated template holds them, with the names that the decisions use."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from functools import cache

from tests.localcloud.decisions import normal
from tests.localcloud.template import ACCOUNT, REGION, STACK_NAME, Json, load

_HOME = f"{REGION}:{ACCOUNT}"
_TABLE = "arn:aws:dynamodb:{home}:table/{name}"
# By type: the attributes that policies name, with the form of the local cloud's ARNs.
_ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "AWS::DynamoDB::Table": {"Arn": _TABLE, "StreamArn": f"{_TABLE}/stream/2026-01-01T00:00:00.000"},
    "AWS::Events::ApiDestination": {
        "Arn": f"arn:aws:events:{{home}}:api-destination/{{name}}/{uuid.UUID(int=0)}"
    },
    "AWS::IAM::Role": {"Arn": "{id}"},
    "AWS::Logs::LogGroup": {"Arn": "arn:aws:logs:{home}:log-group:{name}:*"},
    "AWS::S3::Bucket": {"Arn": "arn:aws:s3:::{name}"},
    "AWS::SQS::Queue": {"Arn": "arn:aws:sqs:{home}:{name}"},
}


@cache
def documents() -> Mapping[str, tuple[Json, ...]]:
    """Return the policy documents of each role.

    A function's role has the function's logical id, any other role its own, as in the recorded decisions.
    """
    template = load(overrides={"CallbackUrl": "https://example.com/", "AllowedCallbackHosts": "example.com"})
    for name, resource in template.resources.items():
        physical = f"{STACK_NAME}-{name}"
        if resource.type == "AWS::S3::Bucket":
            named = resource.properties.get("BucketName", physical.lower())
            physical = str(template.scope.resolve(named))
        elif resource.type == "AWS::SecretsManager::Secret":
            physical = f"arn:aws:secretsmanager:{_HOME}:secret:{physical}-abcdef"  # AWS appends six letters
        forms = _ATTRIBUTES.get(resource.type, {})
        template.scope.refs[name] = physical
        template.scope.attributes[name] = {
            attribute: form.format(home=_HOME, name=physical, id=name) for attribute, form in forms.items()
        }
    users = {
        template.scope.resolve(resource.properties["Role"]): name
        for name, resource in template.resources.items()
        if resource.type == "AWS::Lambda::Function"
    }
    return {
        users.get(name, name): tuple(_documents(template.scope.resolve, resource.properties["Policies"]))
        for name, resource in template.resources.items()
        if resource.type == "AWS::IAM::Role"
    }


def _documents(resolve: Callable[[Json], Json], policies: Json) -> list[Json]:
    found: list[dict[str, Json]] = json.loads(normal(json.dumps(resolve(policies))))
    return [policy["PolicyDocument"] for policy in found]

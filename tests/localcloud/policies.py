"""IAM policies: the part of the language that the template uses, and the check of a call against it.

That part is Allow statements with actions, resources and conditions. Anything else is an error when the template is
read, and the error names it. Examples are a Deny, a wildcard in an action, another operator, or a condition key that
the action does not have.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping  # pydantic reads them at run time
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tests.localcloud.template import Strict

# The actions that the local cloud recognizes, and the condition keys that it knows for each.
ACTIONS: Mapping[str, frozenset[str]] = {
    "dynamodb:ConditionCheckItem": frozenset({"dynamodb:LeadingKeys"}),
    "dynamodb:DeleteItem": frozenset({"dynamodb:LeadingKeys"}),
    "dynamodb:DescribeStream": frozenset(),
    "dynamodb:GetItem": frozenset({"dynamodb:LeadingKeys"}),
    "dynamodb:GetRecords": frozenset(),
    "dynamodb:GetShardIterator": frozenset(),
    "dynamodb:ListStreams": frozenset(),
    "dynamodb:PutItem": frozenset({"dynamodb:LeadingKeys"}),
    "dynamodb:Query": frozenset(),
    "dynamodb:Scan": frozenset(),
    "dynamodb:UpdateItem": frozenset({"dynamodb:LeadingKeys"}),
    "events:InvokeApiDestination": frozenset(),
    "events:PutEvents": frozenset({"events:source"}),
    # SSM calls it under the function's role if the operator's own key encrypts the token. moto has no such key.
    "kms:Decrypt": frozenset({"kms:ViaService"}),
    "logs:CreateLogStream": frozenset(),
    "logs:PutLogEvents": frozenset(),
    "s3:DeleteObject": frozenset(),
    "s3:GetObject": frozenset(),
    "s3:ListBucket": frozenset({"s3:prefix"}),
    "s3:PutObject": frozenset(),
    "sqs:ChangeMessageVisibility": frozenset(),
    "sqs:DeleteMessage": frozenset(),
    "sqs:GetQueueAttributes": frozenset(),
    "sqs:ReceiveMessage": frozenset(),
    "sqs:SendMessage": frozenset(),
    "secretsmanager:GetSecretValue": frozenset(),
    "ssm:GetParameter": frozenset(),
}


@dataclass(frozen=True)
class Call:
    """One action on one resource that a request needs."""

    action: str
    resource: str  # ARN, or * for an action without a resource
    # Condition keys, with the request's values.
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        with_keys = [f"{key} {', '.join(values)}" for key, values in self.keys.items()]
        return " with ".join((f"{self.action} on {self.resource}", *with_keys))


@dataclass(frozen=True, order=True)
class Permission:
    """The smallest part of a policy: one action on one resource, under one value of a condition."""

    statement: str  # its Sid
    action: str
    resource: str  # a pattern
    condition: str = ""  # key and pattern

    def __str__(self) -> str:
        where = f" where {self.condition}" if self.condition else ""
        return f"{self.action} on {self.resource}{where} ({self.statement})"


def _list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


type Texts = Annotated[tuple[str, ...], BeforeValidator(_list)]
type Operator = Literal["StringEquals", "StringLike", "ForAllValues:StringEquals", "ForAllValues:StringLike"]


class Statement(Strict):
    sid: str
    effect: Literal["Allow"]
    action: Texts
    resource: Texts
    condition: Mapping[Operator, Mapping[str, Texts]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_understood(self) -> Self:
        for action in self.action:
            if action not in ACTIONS:
                raise ValueError(f"the action {action} is not understood")
            for key in itertools.chain(*self.condition.values()):
                if key not in ACTIONS[action]:
                    raise ValueError(f"the condition key {key} of {action} is not understood")
        if variables := re.search(r"\$\{[^}]*\}", self.model_dump_json()):
            raise ValueError(f"the variable {variables[0]} is not understood")
        return self

    def permissions(self) -> Iterator[Permission]:
        """Yield every permission of the statement."""
        conditions = [
            f"{key} {value}"
            for keys in self.condition.values()
            for key, values in keys.items()
            for value in values
        ]
        for action, resource, condition in itertools.product(self.action, self.resource, conditions or [""]):
            yield Permission(self.sid, action, resource, condition)

    def granting(self, call: Call) -> Iterator[Permission]:
        """Yield the permissions of the statement that allow the call."""
        conditions = self._met(call.keys)
        if call.action in self.action and conditions is not None:
            for resource, condition in itertools.product(self.resource, conditions or [""]):
                if matches(resource, call.resource):
                    yield Permission(self.sid, call.action, resource, condition)

    def _met(self, keys: Mapping[str, tuple[str, ...]]) -> list[str] | None:
        """Return the condition values that the call's keys match; None if a condition is not met."""
        met: list[str] = []
        for operator, expected in self.condition.items():
            for key, patterns in expected.items():
                values = keys.get(key, ())
                matching = {
                    pattern: {
                        value
                        for value in values
                        if (
                            pattern == value if operator.endswith("StringEquals") else matches(pattern, value)
                        )
                    }
                    for pattern in patterns
                }
                # ForAllValues is also true if there is no value; the other operators need one.
                if set().union(*matching.values()) != set(values) or not (
                    values or operator.startswith("ForAllValues:")
                ):
                    return None
                met += [f"{key} {pattern}" for pattern, found in matching.items() if found]
        return met


class Policy(Strict):
    version: Literal["2012-10-17"]
    statement: tuple[Statement, ...]


def matches(pattern: str, value: str) -> bool:
    """Return whether a value matches a pattern: `*` is any text, `?` any character."""
    parts = {"*": ".*", "?": "."}
    regex = "".join(parts.get(character) or re.escape(character) for character in pattern)
    return re.fullmatch(regex, value, re.DOTALL) is not None


def permissions(statements: Iterable[Statement]) -> set[Permission]:
    return {permission for statement in statements for permission in statement.permissions()}


def granting(statements: Iterable[Statement], call: Call) -> set[Permission]:
    """Return the permissions of a role that allow a call; an empty set if it is denied."""
    return {permission for statement in statements for permission in statement.granting(call)}


def differences(policies: Mapping[str, Iterable[Statement]], asked: Iterable[tuple[str, Call]]) -> list[str]:
    """Compare roles with the calls made under them; return a sentence for each denied call and unused permission.

    Args:
        policies: The statements of each role, by the name that `asked` uses.
        asked: The calls, each with its role. A call that two permissions allow uses both.
    """
    unused = {(role, one) for role, statements in policies.items() for one in permissions(statements)}
    found = []
    for role, call in asked:
        granted = granting(policies[role], call)
        unused -= {(role, one) for one in granted}
        if not granted:
            found.append(f"{role} is denied {call}")
    return found + [f"{role} never uses {one}" for role, one in sorted(unused)]

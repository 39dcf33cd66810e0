"""The template as a stack: every value is resolved, and a placeholder replaces what only AWS knows.

CloudFormation's schemas, which cfn-lint contains, say what a changed property does:
https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER  # type: ignore[import-untyped]  # no py.typed

from tests.localcloud.template import REGION, TEMPLATE, Json, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# By type: properties that AWS does not update, although the schemas permit it; quoted from
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/
ALSO_FROZEN: Mapping[str, tuple[str, ...]] = {
    "AWS::Cognito::UserPool": (  # "Updates are not supported."
        "/properties/AliasAttributes",
        "/properties/UsernameAttributes",
        "/properties/UsernameConfiguration",
    ),
    # "When you make a change to this property, a new secret version is created."
    "AWS::SecretsManager::Secret": ("/properties/GenerateSecretString", "/properties/SecretString"),
}


class Attributes(dict[str, str]):
    """A map that has every attribute."""

    def __init__(self, resource: str) -> None:
        super().__init__()
        self._resource = resource

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return f"{self._resource}.{name}"


@dataclass(frozen=True)
class Planned:
    """A resource of a stack. Its policies are Delete by default, as in CloudFormation."""

    type: str
    properties: Json
    deletion_policy: str
    update_replace_policy: str


@dataclass(frozen=True)
class Plan:
    """A stack: its parameters and outputs by name, its resources by logical id."""

    parameters: Mapping[str, str]
    resources: Mapping[str, Planned]
    outputs: Mapping[str, str]


def plan(
    path: Path = TEMPLATE, overrides: Mapping[str, str] | None = None, *, stack_name: str = "triptych"
) -> Plan:
    """Plan the stack that CloudFormation would make of the template.

    Raises:
        tests.localcloud.template.TemplateError: a parameter is unknown or its value is invalid.
    """
    template = load(path, overrides, stack_name=stack_name)
    for name in template.resources:
        # AWS's generated names begin with the stack's name or are random.
        generated = f"<{stack_name}/{name}>"
        template.scope.refs[name] = generated
        template.scope.attributes[name] = Attributes(generated)
    resources = {
        name: Planned(
            one.type,
            template.scope.resolve(one.properties),
            one.deletion_policy or "Delete",
            one.update_replace_policy or "Delete",
        )
        for name, one in template.resources.items()
    }
    return Plan(template.parameters, resources, template.outputs())


def frozen(kind: str) -> list[str]:
    """Return JSON pointers to the properties whose change replaces the resource or fails."""
    schema = _schema(kind)
    pointers = {
        *schema.get("createOnlyProperties", ()),
        *schema.get("conditionalCreateOnlyProperties", ()),  # depends on the value: a person must look
        *ALSO_FROZEN.get(kind, ()),
    }
    return sorted(pointer.removeprefix("/properties") for pointer in pointers)


def at(properties: Json, pointer: str) -> Json:
    """Return the value at the pointer, or None; `*` means every item of a list."""
    if not pointer:
        return properties
    head, _, rest = pointer.removeprefix("/").partition("/")
    rest = rest and f"/{rest}"
    match properties:
        case list() if head == "*":
            return [at(one, rest) for one in properties]
        case dict():
            return at(properties.get(head), rest)
    return None


def identity(resource: Planned) -> dict[str, Json]:
    """Return the properties that identify the resource in an account and region, if the template sets them."""
    schema = _schema(resource.type)
    given = {*schema["primaryIdentifier"], *schema.get("createOnlyProperties", ()), "/properties/Name"}
    parts = {
        pointer.removeprefix("/properties") for pointer in given if pointer.endswith(("Name", "Id", "Bucket"))
    }
    values = {part: at(resource.properties, part) for part in sorted(parts)}
    return {part: value for part, value in values.items() if value is not None}


def collisions(one: Plan, other: Plan) -> list[str]:
    """List the resources that two stacks in one account and region would share."""
    taken = [(each.type, identity(each)) for each in one.resources.values() if identity(each)]
    return [
        f"{name} ({each.type}): {identity(each)}"
        for name, each in other.resources.items()
        if (each.type, identity(each)) in taken
    ]


def _schema(kind: str) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
    return schema

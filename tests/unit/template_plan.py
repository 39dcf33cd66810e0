"""The template as one stack of it would be: every value resolved, a placeholder where only AWS could tell.

What AWS does with a changed property is read off CloudFormation's own schemas, which cfn-lint brings along:
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

# What the schemas let change and AWS does not, by type; quoted from
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/
FROZEN_BESIDES: Mapping[str, tuple[str, ...]] = {
    "AWS::Cognito::UserPool": (  # "Updates are not supported."
        "/properties/AliasAttributes",
        "/properties/UsernameAttributes",
        "/properties/UsernameConfiguration",
    ),
    # "When you make a change to this property, a new secret version is created."
    "AWS::SecretsManager::Secret": ("/properties/GenerateSecretString", "/properties/SecretString"),
}


class Attributes(dict[str, str]):
    """Whatever attribute is asked for."""

    def __init__(self, resource: str) -> None:
        super().__init__()
        self._resource = resource

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return f"{self._resource}.{name}"


@dataclass(frozen=True)
class Planned:
    """A resource of a stack; the policies as CloudFormation reads them, which is Delete where none is given."""

    type: str
    properties: Json
    deletion_policy: str
    update_replace_policy: str


@dataclass(frozen=True)
class Plan:
    """A stack: what its parameters are, its resources by logical id, its outputs by name."""

    parameters: Mapping[str, str]
    resources: Mapping[str, Planned]
    outputs: Mapping[str, str]


def plan(
    path: Path = TEMPLATE, overrides: Mapping[str, str] | None = None, *, stack_name: str = "triptych"
) -> Plan:
    """What CloudFormation would make of the template.

    Raises:
        tests.localcloud.template.TemplateError: a parameter is not there, or does not take what it is given.
    """
    template = load(path, overrides, stack_name=stack_name)
    for name in template.resources:
        # A name that AWS makes up begins with the stack's, or is random.
        made_up = f"<{stack_name}/{name}>"
        template.scope.refs[name] = made_up
        template.scope.attributes[name] = Attributes(made_up)
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
    """JSON pointers to the properties whose change makes another resource of it, or fails."""
    schema = _schema(kind)
    pointers = {
        *schema.get("createOnlyProperties", ()),
        *schema.get("conditionalCreateOnlyProperties", ()),  # it depends on what: a person has to look
        *FROZEN_BESIDES.get(kind, ()),
    }
    return sorted(pointer.removeprefix("/properties") for pointer in pointers)


def at(properties: Json, pointer: str) -> Json:
    """What stands there, where `*` is every item of a list; None where nothing does."""
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
    """What tells it apart from others of its type in an account and region, as far as the template says it."""
    schema = _schema(resource.type)
    given = {*schema["primaryIdentifier"], *schema.get("createOnlyProperties", ()), "/properties/Name"}
    parts = {
        pointer.removeprefix("/properties") for pointer in given if pointer.endswith(("Name", "Id", "Bucket"))
    }
    told = {part: at(resource.properties, part) for part in sorted(parts)}
    return {part: value for part, value in told.items() if value is not None}


def collisions(one: Plan, other: Plan) -> list[str]:
    """The resources of two stacks in one account and region that would be one and the same."""
    taken = [(each.type, identity(each)) for each in one.resources.values() if identity(each)]
    return [
        f"{name} ({each.type}): {identity(each)}"
        for name, each in other.resources.items()
        if (each.type, identity(each)) in taken
    ]


def _schema(kind: str) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
    return schema

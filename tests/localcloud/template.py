"""A reader of template.yaml that works as CloudFormation: parameters, rules, SAM transform, conditions, intrinsics.

`python -m tests.localcloud.template` prints the translated template as JSON. cfn-lint finds more in it than in the SAM
template.

An unknown part is a `TemplateError` that names it. The reader ignores nothing silently.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import boto3
import botocore.session
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal
from samtranslator.model.exceptions import InvalidDocumentException  # type: ignore[import-untyped]  # no py.typed
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]  # no py.typed
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]  # no py.typed
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # no py.typed

from tests.localcloud.overrides import Given, OverrideError, read

if TYPE_CHECKING:
    from collections.abc import Mapping

type Json = str | int | float | bool | list[Json] | dict[str, Json] | None

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
REGION = "us-east-1"
ACCOUNT = "123456789012"
STACK_NAME = "triptych"

# SAM accepts code only from S3, so an impossible bucket name marks a folder of the repository.
CODE_BUCKET = "code-of-this-folder"

_URL_SUFFIXES = {"aws-cn": "amazonaws.com.cn", "aws-eusc": "amazonaws.eu"}  # partition → AWS::URLSuffix
_NO_VALUE: Json = {"Ref": "AWS::NoValue"}
_PLACEHOLDER = re.compile(r"\$\{(!?)([^}]*)\}")


class TemplateError(Exception):
    """The template or a parameter is wrong or not understood. The message names the part."""


class Strict(BaseModel):
    """A part of a template, with CloudFormation's keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_pascal)


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Parameter(Strict):
    type: Literal["String", "Number", "CommaDelimitedList"]
    default: str | int | float | None = None
    description: str = ""
    allowed_values: list[str | int | float] | None = None
    allowed_pattern: str = "(?s:.*)"
    min_length: int = 0
    max_length: int = sys.maxsize
    min_value: int | float = -math.inf
    max_value: int | float = math.inf
    constraint_description: str | None = None
    no_echo: bool = False


class Resource(Strict):
    """A resource of the translated template, with unresolved properties."""

    type: str
    properties: dict[str, Json] = {}
    condition: str | None = None
    depends_on: Annotated[list[str], BeforeValidator(_list)] = []
    # The policies have no effect: a local stack keeps nothing after its end.
    deletion_policy: Literal["Delete", "Retain", "RetainExceptOnCreate", "Snapshot"] | None = None
    update_replace_policy: Literal["Delete", "Retain", "Snapshot"] | None = None
    metadata: Json = None


class _Output(Strict):
    value: Json
    description: str = ""
    condition: str | None = None


class _Assertion(Strict):
    assert_: Annotated[Json, Field(alias="Assert")]
    assert_description: str = ""


class _Rule(Strict):
    rule_condition: Json = True
    assertions: list[_Assertion]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_pascal)

    version: Annotated[Literal["2010-09-09"], Field(alias="AWSTemplateFormatVersion")]
    description: str = ""
    metadata: Json = None
    parameters: dict[str, _Parameter] = {}
    rules: dict[str, _Rule] = {}
    conditions: dict[str, Json] = {}
    resources: dict[str, Resource]
    outputs: dict[str, _Output] = {}


@dataclass
class Scope:
    """The values of names, and the evaluation of intrinsic functions.

    `refs` and `attributes` grow while resources are created.
    """

    refs: dict[str, Json]
    attributes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    conditions: dict[str, Json] = field(default_factory=dict)  # definitions, by name

    def condition(self, name: str) -> bool:
        """Return whether the condition holds.

        Raises:
            TemplateError: There is no condition with that name.
        """
        if name not in self.conditions:
            raise TemplateError(f"condition {name} is not defined")
        return self.resolve(self.conditions[name]) is True

    def resolve(self, value: Json) -> Json:  # noqa: C901, PLR0911, PLR0912  # a table of functions, one line each
        """Return `value` with every intrinsic function evaluated.

        Raises:
            TemplateError: A function or a name in it is unknown.
        """
        match value:
            case {"Ref": str(name), **rest} if not rest:
                return self._ref(name)
            case {"Condition": str(name), **rest} if not rest:
                return self.condition(name)
            case {"Fn::GetAtt": str(path), **rest} if not rest:
                return self._attribute(*path.split(".", 1))
            case {"Fn::GetAtt": [str(name), str(attribute)], **rest} if not rest:
                return self._attribute(name, attribute)
            case {"Fn::Sub": str(pattern), **rest} if not rest:
                return self._substitute(pattern, {})
            case {"Fn::Sub": [str(pattern), dict(names)], **rest} if not rest:
                return self._substitute(pattern, names)
            case {"Fn::If": [str(name), then, otherwise], **rest} if not rest:
                return self.resolve(then if self.condition(name) else otherwise)
            case {"Fn::Equals": [left, right], **rest} if not rest:
                return text(self.resolve(left)) == text(self.resolve(right))
            case {"Fn::Not": [one], **rest} if not rest:
                return self.resolve(one) is not True
            case {"Fn::And": list(several), **rest} if not rest:
                return all(self.resolve(one) is True for one in several)
            case {"Fn::Or": list(several), **rest} if not rest:
                return any(self.resolve(one) is True for one in several)
            case {"Fn::Contains": [several, one], **rest} if not rest:
                return text(self.resolve(one)) in [text(each) for each in items(self.resolve(several))]
            case {"Fn::Join": [str(separator), several], **rest} if not rest:
                return separator.join(text(one) for one in items(self.resolve(several)))
            case {"Fn::Split": [str(separator), whole], **rest} if not rest:
                return [*text(self.resolve(whole)).split(separator)]
            case {"Fn::Select": [index, several], **rest} if not rest:
                return self._select(self.resolve(index), items(self.resolve(several)))
            case list():
                resolved = [self.resolve(one) for one in value]
                return [one for one in resolved if one != _NO_VALUE]
            case dict():
                if unknown := [key for key in value if key.startswith("Fn::")]:
                    raise TemplateError(f"function {unknown[0]} is not understood in {json.dumps(value)}")
                both = {key: self.resolve(one) for key, one in value.items()}
                return {key: one for key, one in both.items() if one != _NO_VALUE}
            case _:
                return value

    def names(self, value: Json) -> set[str]:  # noqa: PLR0911  # as above
        """Return the logical names that `value` refers to; for `Fn::If`, those of the chosen branch."""
        match value:
            case {"Ref": str(name)}:
                return {name}
            case {"Fn::GetAtt": str(path)}:
                return {path.split(".", 1)[0]}
            case {"Fn::GetAtt": [str(name), *_]}:
                return {name}
            case {"Fn::Sub": str(pattern)}:
                return _placeholders(pattern)
            case {"Fn::Sub": [str(pattern), dict(given)]}:
                return _placeholders(pattern) - given.keys() | self.names(given)
            case {"Fn::If": [str(name), then, otherwise]}:
                return self.names(then if self.condition(name) else otherwise)
            case list():
                return set().union(*(self.names(one) for one in value))
            case dict():
                return set().union(*(self.names(one) for one in value.values()))
            case _:
                return set()

    def _ref(self, name: str) -> Json:
        if name not in self.refs:
            raise TemplateError(f"Ref {name}: there is no such parameter or resource")
        return self.refs[name]

    def _attribute(self, name: str, attribute: str = "") -> str:
        if attribute not in self.attributes.get(name, {}):
            raise TemplateError(f"Fn::GetAtt {name}.{attribute}: there is no such attribute")
        return self.attributes[name][attribute]

    def _substitute(self, pattern: str, names: dict[str, Json]) -> str:
        def replacement(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return "${" + name + "}"
            if name in names:
                return text(self.resolve(names[name]))
            return self._attribute(*name.split(".", 1)) if "." in name else text(self._ref(name))

        return _PLACEHOLDER.sub(replacement, pattern)

    def _select(self, index: Json, several: list[Json]) -> Json:
        try:
            return several[int(text(index))]
        except (ValueError, IndexError):
            raise TemplateError(f"Fn::Select: there is no item {index} in {several}") from None


@dataclass(frozen=True)
class Template:
    """A template with its parameters set: the resources to create, in order."""

    folder: Path
    parameters: dict[str, str]  # all parameters, as strings
    scope: Scope
    resources: dict[str, Resource]  # without those whose condition is false; each after its dependencies
    _outputs: dict[str, _Output]

    def outputs(self) -> dict[str, str]:
        """Return the outputs. Call it when every resource is in the scope."""
        return {
            name: text(self.scope.resolve(output.value))
            for name, output in self._outputs.items()
            if output.condition is None or self.scope.condition(output.condition)
        }


@dataclass(frozen=True)
class _Source:
    """The template file and the values of its parameters."""

    path: Path
    document: dict[str, Json]
    overrides: Mapping[str, str]

    @cached_property
    def definitions(self) -> dict[str, _Parameter]:
        class Parameters(BaseModel):
            parameters: dict[str, _Parameter]

        return _validated(
            Parameters, {"parameters": self.document.get("Parameters", {})}, self.path.name
        ).parameters

    @cached_property
    def given(self) -> dict[str, str]:
        if unknown := [name for name in self.overrides if name not in self.definitions]:
            known = ", ".join(sorted(self.definitions))
            raise TemplateError(f"there is no parameter {unknown[0]}. The parameters are {known}")
        return {name: _given(name, one, self.overrides.get(name)) for name, one in self.definitions.items()}

    @cached_property
    def values(self) -> dict[str, Json]:
        """The values that `Ref` returns: a list for a CommaDelimitedList, else a string."""
        return {
            name: [*_split(self.given[name])] if one.type == "CommaDelimitedList" else self.given[name]
            for name, one in self.definitions.items()
        }


def read_overrides(given: Given) -> dict[str, str]:
    """Read parameter overrides as `sam deploy` does, from the words of a command line or a value in samconfig.toml.

    Raises:
        TemplateError: SAM CLI would refuse the overrides or drop a part of them.
    """
    try:
        return read(given)
    except OverrideError as error:
        raise TemplateError(str(error)) from error


def load(
    path: Path = TEMPLATE,
    overrides: Mapping[str, str] | None = None,
    *,
    stack_name: str = STACK_NAME,
    region: str = REGION,
    account: str = ACCOUNT,
) -> Template:
    """Read the template with these parameters, and order its resources by their dependencies.

    Raises:
        TemplateError: A parameter, rule, function or section is wrong or not understood.
    """
    source = _read(path, overrides or {})
    document = _validated(_Document, _translate(source, region), path.name)
    partition = botocore.session.get_session().get_partition_for_region(region)
    # Equal for equal names, because tests compare stacks.
    unique = uuid.uuid5(uuid.NAMESPACE_URL, stack_name)
    scope = Scope(
        refs={
            **source.values,
            "AWS::AccountId": account,
            "AWS::Partition": partition,
            "AWS::Region": region,
            "AWS::StackId": f"arn:{partition}:cloudformation:{region}:{account}:stack/{stack_name}/{unique}",
            "AWS::StackName": stack_name,
            "AWS::URLSuffix": _URL_SUFFIXES.get(partition, "amazonaws.com"),
            "AWS::NoValue": _NO_VALUE,
        },
        conditions=document.conditions,
    )
    for name, rule in document.rules.items():
        if scope.resolve(rule.rule_condition) is True:
            for assertion in rule.assertions:
                if scope.resolve(assertion.assert_) is not True:
                    raise TemplateError(f"rule {name}: {assertion.assert_description}")
    resources = {
        name: resource
        for name, resource in document.resources.items()
        if resource.condition is None or scope.condition(resource.condition)
    }
    return Template(path.parent, source.given, scope, _ordered(resources, scope), document.outputs)


def translate(
    path: Path = TEMPLATE, overrides: Mapping[str, str] | None = None, *, region: str = REGION
) -> dict[str, Json]:
    """Return the template after the SAM transform, with its parameters and intrinsic functions.

    Raises:
        TemplateError: SAM refuses the template, or a parameter is wrong.
    """
    return _translate(_read(path, overrides or {}), region)


def text(value: Json) -> str:
    """Return a scalar as CloudFormation writes it: `true`, not `True`.

    Raises:
        TemplateError: The value is a list or a map.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
    raise TemplateError(f"expected a string, not {json.dumps(value)}")


def items(value: Json) -> list[Json]:
    """Return `value` as a list.

    Raises:
        TemplateError: The value is not a list.
    """
    if not isinstance(value, list):
        raise TemplateError(f"expected a list, not {json.dumps(value)}")
    return value


def explain(error: ValidationError) -> str:
    """Return the most important complaint on one line: place and problem. An unknown key comes first."""
    complaints = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    where = ".".join(str(step) for step in complaints[0]["loc"])
    if complaints[0]["type"] == "extra_forbidden":
        return f"{where} is not understood"
    return f"{where}: {complaints[0]['msg']}"


def _read(path: Path, overrides: Mapping[str, str]) -> _Source:
    try:
        document = yaml_parse(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise TemplateError(f"{path.name}: {error}") from error
    if not isinstance(document, dict):
        raise TemplateError(f"{path.name} is not a template")
    return _Source(path, document, overrides)


def _translate(source: _Source, region: str) -> dict[str, Json]:
    document: dict[str, Json] = json.loads(json.dumps(source.document))  # the translator works in place
    match document:
        case {"Resources": dict(resources)}:
            for resource in resources.values():
                _code_from_s3(resource)
    # With an empty map of managed policies, the translator uses its own list instead of asking IAM.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=region))
    try:
        translated: dict[str, Json] = translator.translate(document, parameter_values=source.values)
    except InvalidDocumentException as error:
        causes = "; ".join(cause.message for cause in error.causes)
        raise TemplateError(f"{source.path.name}: {causes}") from error
    finally:
        translator.metrics.publish()  # sends nothing; without it the translator complains on stderr
    return translated


def _code_from_s3(resource: Json) -> None:
    match resource:
        case {
            "Type": "AWS::Serverless::Function" | "AWS::Serverless::LayerVersion",
            "Properties": dict(properties),
        }:
            for name in ("CodeUri", "ContentUri"):
                match properties.get(name):
                    case str(uri) if "://" not in uri:
                        properties[name] = f"s3://{CODE_BUCKET}/{uri}"


def _validated[Model: BaseModel](model: type[Model], document: Mapping[str, Json], name: str) -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise TemplateError(f"{name}: {explain(error)}") from error


def _given(name: str, parameter: _Parameter, override: str | None) -> str:
    """Return the parameter's value, checked against the constraints of its definition."""
    if override is None and parameter.default is None:
        raise TemplateError(f"parameter {name} has no default. Give it a value")
    value = text(parameter.default) if override is None else override
    for part in _split(value) if parameter.type == "CommaDelimitedList" else [value]:
        if complaint := _complaint(parameter, part):
            raise TemplateError(f"parameter {name} is {value!r}: {complaint}")
    return value


def _complaint(parameter: _Parameter, value: str) -> str | None:
    """Return the first constraint that `value` breaks, or None."""
    allowed = [text(one) for one in parameter.allowed_values or [value]]
    is_number = re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)", value) is not None
    number = float(value) if is_number else math.nan  # a comparison with nan is false, so no bound complains
    constraints = (
        (parameter.type == "Number" and not is_number, "it must be a number"),
        (value not in allowed, f"it must be one of {', '.join(allowed)}"),
        (not re.fullmatch(parameter.allowed_pattern, value), f"it must match {parameter.allowed_pattern}"),
        (len(value) < parameter.min_length, f"it must have at least {parameter.min_length} characters"),
        (len(value) > parameter.max_length, f"it must have at most {parameter.max_length} characters"),
        (number < parameter.min_value, f"it must be at least {parameter.min_value}"),
        (number > parameter.max_value, f"it must be at most {parameter.max_value}"),
    )
    return next((complaint for broken, complaint in constraints if broken), None)


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


def _placeholders(pattern: str) -> set[str]:
    return {name.split(".", 1)[0] for literal, name in _PLACEHOLDER.findall(pattern) if not literal}


def _ordered(resources: dict[str, Resource], scope: Scope) -> dict[str, Resource]:
    needs: dict[str, set[str]] = {}
    for name, resource in resources.items():
        if unknown := [one for one in resource.depends_on if one not in resources]:
            raise TemplateError(f"{name} depends on {unknown[0]}, which does not exist")
        needs[name] = (scope.names(resource.properties) & resources.keys()) | set(resource.depends_on)
    try:
        return {name: resources[name] for name in TopologicalSorter(needs).static_order()}
    except CycleError as error:
        raise TemplateError(f"circular dependency: {' → '.join(error.args[1])}") from error


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.localcloud.template", description=__doc__)
    parser.add_argument("--parameter-overrides", nargs="+", default=[], metavar="Name=Value")
    arguments = parser.parse_args()
    try:
        translated = translate(overrides=read_overrides(tuple(arguments.parameter_overrides)))
    except TemplateError as error:
        parser.error(str(error))
    print(json.dumps(translated, indent=2))  # noqa: T201  # the command's output


if __name__ == "__main__":
    _main()

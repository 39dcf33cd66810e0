"""Tests of reading a template: its values, its order and its errors."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.localcloud.provision import provision
from tests.localcloud.template import TEMPLATE, Json, Scope, TemplateError, load, read_overrides, translate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.localcloud.stack import Stack

HEAD = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
"""
QUEUE = """
Resources:
  Work:
    Type: AWS::SQS::Queue
"""
PARAMETERS = """
Parameters:
  Needed: {Type: String}
  Colour: {Type: String, Default: red, AllowedValues: [red, green]}
  Word: {Type: String, Default: abc, AllowedPattern: "[a-z]*", MinLength: 2, MaxLength: 4}
  Count: {Type: Number, Default: 3, MinValue: 1, MaxValue: 10}
  Many: {Type: CommaDelimitedList, Default: "a, b", AllowedPattern: "[a-z]+"}
  Issuer: {Type: String, Default: ""}
Rules:
  WordWithIssuer:
    RuleCondition: !Not [!Equals [!Ref Issuer, ""]]
    Assertions:
      - Assert: !Not [!Contains [!Ref Many, a]]
        AssertDescription: Issuer and a do not go together.
"""


def write(folder: Path, *parts: str) -> Path:
    path = folder / "template.yaml"
    path.write_text(HEAD + "".join(parts))
    return path


def provision_nowhere(path: Path, parameters: Mapping[str, str] | None = None) -> Stack:
    """Provision a template for which no server is needed."""
    return provision(
        path,
        parameters or {},
        endpoint="http://127.0.0.1:9",
        api_url="http://127.0.0.1:9",
        stack_name="test",
        region="us-east-1",
        account="123456789012",
    )


def test_parameters_have_defaults_and_overrides(tmp_path: Path) -> None:
    template = load(write(tmp_path, PARAMETERS, QUEUE), {"Needed": "x", "Count": "7", "Many": "c,d , e"})
    assert template.parameters == {
        "Needed": "x",
        "Colour": "red",
        "Word": "abc",
        "Count": "7",
        "Many": "c,d , e",
        "Issuer": "",
    }
    assert template.scope.resolve({"Ref": "Many"}) == ["c", "d", "e"]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({}, "parameter Needed has no default"),
        ({"Needed": "", "Sort": "1"}, "there is no parameter Sort"),
        ({"Needed": "", "Colour": "blue"}, "parameter Colour is 'blue': it must be one of red, green"),
        ({"Needed": "", "Word": "ABC"}, "parameter Word is 'ABC': it must match"),
        ({"Needed": "", "Word": "a"}, "parameter Word is 'a': it must have at least 2"),
        ({"Needed": "", "Word": "abcde"}, "parameter Word is 'abcde': it must have at most 4"),
        ({"Needed": "", "Count": "0"}, "parameter Count is '0': it must be at least 1"),
        ({"Needed": "", "Count": "11"}, "parameter Count is '11': it must be at most 10"),
        ({"Needed": "", "Count": "many"}, "parameter Count is 'many': it must be a number"),
        ({"Needed": "", "Count": "nan"}, "parameter Count is 'nan': it must be a number"),
        ({"Needed": "", "Many": "a,B"}, "parameter Many is 'a,B': it must match"),
        ({"Needed": "", "Issuer": "x"}, "rule WordWithIssuer: Issuer and a do not go together."),
    ],
)
def test_wrong_parameter_is_named(tmp_path: Path, overrides: dict[str, str], complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        load(write(tmp_path, PARAMETERS, QUEUE), overrides)


def test_unreadable_override_is_a_template_error() -> None:
    assert read_overrides(("A=1",)) == {"A": "1"}
    with pytest.raises(TemplateError, match="'nonsense'"):
        read_overrides(("nonsense",))


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        ({"Ref": "Name"}, "n"),
        ({"Fn::GetAtt": ["Queue", "Arn"]}, "arn:q"),
        ({"Fn::GetAtt": "Queue.Arn"}, "arn:q"),
        ({"Fn::Sub": "${Name}-${Queue.Arn}-${!Name}"}, "n-arn:q-${Name}"),
        ({"Fn::Sub": ["${Name}${Other}", {"Other": {"Ref": "Number"}}]}, "n3"),
        ({"Fn::If": ["Yes", "a", "b"]}, "a"),
        ({"a": {"Fn::If": ["No", "x", {"Ref": "AWS::NoValue"}]}, "b": [{"Ref": "AWS::NoValue"}]}, {"b": []}),
        ({"Fn::Join": ["-", ["a", {"Ref": "Number"}]]}, "a-3"),
        ({"Fn::Select": ["1", {"Fn::Split": [",", "a,b"]}]}, "b"),
        ({"Fn::And": [{"Condition": "Yes"}, {"Fn::Not": [{"Condition": "No"}]}]}, True),
        ({"Fn::Or": [{"Condition": "No"}, {"Fn::Equals": [True, "true"]}]}, True),
        (
            {"Condition": {"StringLike": {"s3:prefix": "uploads/*"}}},
            {"Condition": {"StringLike": {"s3:prefix": "uploads/*"}}},
        ),
    ],
)
def test_intrinsic_functions_are_evaluated(value: Json, resolved: Json) -> None:
    assert _scope().resolve(value) == resolved


@pytest.mark.parametrize(
    ("value", "culprit"),
    [
        ({"Ref": "Unknown"}, "Unknown"),
        ({"Fn::GetAtt": ["Queue", "Colour"]}, "Queue.Colour"),
        ({"Fn::Sub": "${Unknown}"}, "Unknown"),
        ({"Fn::If": ["Perhaps", 1, 2]}, "Perhaps"),
        ({"Fn::ImportValue": "x"}, "Fn::ImportValue"),
        ({"Fn::Select": ["2", ["a"]]}, "Fn::Select"),
    ],
)
def test_unresolvable_name_is_reported(value: Json, culprit: str) -> None:
    with pytest.raises(TemplateError, match=culprit):
        _scope().resolve(value)


def _scope() -> Scope:
    return Scope(
        refs={"Name": "n", "Number": 3, "AWS::NoValue": {"Ref": "AWS::NoValue"}},
        attributes={"Queue": {"Arn": "arn:q"}},
        conditions={"Yes": {"Fn::Equals": ["a", "a"]}, "No": {"Fn::Equals": ["a", "b"]}},
    )


def test_dependencies_come_first_and_false_conditions_are_omitted(tmp_path: Path) -> None:
    template = load(
        write(
            tmp_path,
            """
Conditions:
  Never: !Equals [a, b]
Resources:
  First: {Type: AWS::SQS::Queue, DependsOn: Second}
  Second:
    Type: AWS::SQS::Queue
    Properties:
      RedrivePolicy: {deadLetterTargetArn: !Sub "${Third.Arn}", maxReceiveCount: 1}
      Tags: !If [Never, !Ref Gone, !Ref AWS::NoValue]
  Third: {Type: AWS::SQS::Queue}
  Gone: {Type: AWS::SQS::Queue, Condition: Never}
""",
        )
    )
    assert list(template.resources) == ["Third", "Second", "First"]


@pytest.mark.parametrize(
    ("resources", "culprit"),
    [
        ("A: {Type: AWS::MSK::Cluster}", "A: resource type AWS::MSK::Cluster"),
        ("A: {Type: AWS::SQS::Queue, CreationPolicy: {}}", r"Resources\.A\.CreationPolicy"),
        ("A: {Type: AWS::SQS::Queue, DependsOn: B}", "A depends on B"),
        (
            "A: {Type: AWS::SQS::Queue, Properties: {Colour: red}}",
            r"A \(AWS::SQS::Queue\): Colour is not understood",
        ),
        (
            "A: {Type: AWS::SQS::Queue, Properties: {RedrivePolicy: {deadLetterTargetArn: x, maxReceiveCount: 1, b: 2}}}",
            r"A .*RedrivePolicy\.b is not understood",
        ),
        (
            "A: {Type: AWS::S3::Bucket, Properties: {NotificationConfiguration: {QueueConfigurations: [{Event: x, Queue: y}]}}}",
            r"A .*NotificationConfiguration\.QueueConfigurations\.0\.Event",
        ),
        (
            "A: {Type: AWS::S3::Bucket, Properties: {NotificationConfiguration: {TopicConfigurations: []}}}",
            r"A .*NotificationConfiguration\.TopicConfigurations is not understood",
        ),
        (
            "A: {Type: AWS::DynamoDB::Table, Properties: {BillingMode: PROVISIONED, AttributeDefinitions: [], KeySchema: []}}",
            r"A .*BillingMode",
        ),
        (
            "A: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt B.Arn}}\n  B: {Type: AWS::SQS::Queue, DependsOn: A}",
            "circular dependency: ",
        ),
        (
            "A: {Type: AWS::Serverless::Function, Properties: {Runtime: python3.13, Handler: a.b, CodeUri: nowhere/}}",
            "A .*'nowhere/' is not a folder",
        ),
        (
            "A: {Type: AWS::Serverless::Function, Properties: {Runtime: python3.13, Handler: a.b, CodeUri: ., Tracing: Active}}",
            "A .*TracingConfig is not understood",
        ),
        ("A: {Type: AWS::Serverless::Function, Properties: {Nonsense: 1}}", "Nonsense"),
        (
            "A: {Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: 1, Foo: bar}}",
            "Foo is not understood",
        ),
        (
            "A: {Type: AWS::CloudWatch::Alarm, Properties: {AlarmActionz: []}}",
            "AlarmActionz is not understood",
        ),
        ("A: {Type: AWS::SNS::Topic, Properties: {Colour: red}}", "Colour is not understood"),
        (
            "A: {Type: AWS::CloudWatch::Dashboard, Properties: {DashboardBody: '{'}}",
            r"DashboardBody: Invalid JSON",
        ),
    ],
)
def test_unsupported_resource_or_property_is_named(tmp_path: Path, resources: str, culprit: str) -> None:
    with pytest.raises(TemplateError, match=culprit):
        provision_nowhere(write(tmp_path, f"Resources:\n  {resources}\n"))


API = """
Resources:
  Api:
    Type: AWS::Serverless::HttpApi
    Properties: {PROPERTIES}
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.13
      Handler: a.b
      CodeUri: code/
      Environment: {Variables: {SWITCH: true, NUMBER: 3, LIST: !Join [",", [a, b]]}}
      Events:
        Get: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: GET, Path: "/a/{id}"}}
        Any: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: ANY, Path: /b EVENT}}
"""


def test_http_api_becomes_its_routes(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    text = API.replace("PROPERTIES", "CorsConfiguration: {AllowOrigins: [x], MaxAge: 5}").replace(
        " EVENT", ""
    )
    stack = provision_nowhere(write(tmp_path, text))
    function = stack.functions["Function"]
    routes = {(route.method, route.path, route.function, route.authorizer) for route in stack.http_api.routes}
    assert routes == {("GET", "/a/{id}", "Function", None), ("ANY", "/b", "Function", None)}
    assert stack.http_api.cors is not None
    assert (stack.http_api.cors.allow_origins, stack.http_api.cors.max_age) == (("x",), 5)
    assert function.code == tmp_path / "code"
    assert function.environment == {"SWITCH": "true", "NUMBER": "3", "LIST": "a,b"}


@pytest.mark.parametrize(
    ("properties", "event", "culprit"),
    [
        (
            "DisableExecuteApiEndpoint: true",
            "",
            r"Api .*servers is not understood",
        ),
        ("", ", PayloadFormatVersion: '1.0'", r"Api .*/b.*payloadFormatVersion"),
        ("StageName: prod", "", "StageName"),
    ],
)
def test_unsupported_property_of_an_http_api_is_named(
    tmp_path: Path, properties: str, event: str, culprit: str
) -> None:
    (tmp_path / "code").mkdir()
    with pytest.raises(TemplateError, match=culprit):
        provision_nowhere(write(tmp_path, API.replace("PROPERTIES", properties).replace(" EVENT", event)))


def test_project_template_translates_to_plain_cloudformation() -> None:
    document = json.loads(
        subprocess.run(
            [sys.executable, "-m", "tests.localcloud.template"],
            cwd=TEMPLATE.parent,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    assert document == translate()
    assert not [one for one in document["Resources"].values() if one["Type"].startswith("AWS::Serverless::")]


def test_list_parameter_stays_a_list_in_the_transform() -> None:
    translated = json.dumps(translate(overrides={"AllowedOrigins": "https://a,https://b"}))
    assert '"allowOrigins": ["https://a", "https://b"]' in translated

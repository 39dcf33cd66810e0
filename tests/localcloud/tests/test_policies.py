"""Tests of IAM policies, and of the calls that a request needs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.localcloud import calls
from tests.localcloud.policies import Call, Policy, Statement, differences, granting, matches, permissions

HOME = "us-east-1:123456789012"
BUCKET = "arn:aws:s3:::photos"
TABLE = f"arn:aws:dynamodb:{HOME}:table/jobs"
LIKE = {"StringLike": {"s3:prefix": ["uploads/*", "outputs/*"]}}
COUNTS = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "jobs of *"}}
SOURCE = {"StringEquals": {"events:source": "triptych"}}


def statement(action: str, resource: str | list[str] = "*", condition: Any = None) -> Statement:
    written = {"Sid": "Sid", "Effect": "Allow", "Action": action, "Resource": resource}
    return Statement.model_validate({**written, "Condition": condition} if condition else written)


OBJECTS = statement("s3:GetObject", f"{BUCKET}/uploads/*")
LISTS = statement("s3:ListBucket", BUCKET, LIKE)
COUNTING = statement("dynamodb:UpdateItem", TABLE, COUNTS)
SENDING = statement("events:PutEvents", "*", SOURCE)
SENDING_ALL = statement(
    "events:PutEvents", "*", {f"ForAllValues:{key}": value for key, value in SOURCE.items()}
)


@pytest.mark.parametrize(
    ("one", "call"),
    [
        (OBJECTS, Call("s3:GetObject", f"{BUCKET}/uploads/1")),
        (LISTS, Call("s3:ListBucket", BUCKET, {"s3:prefix": ("outputs/1/",)})),
        (COUNTING, Call("dynamodb:UpdateItem", TABLE, {"dynamodb:LeadingKeys": ("jobs of a",)})),
        (COUNTING, Call("dynamodb:UpdateItem", TABLE)),  # in IAM, ForAllValues is true without a value
        (SENDING, Call("events:PutEvents", "*", {"events:source": ("triptych",)})),
        (SENDING_ALL, Call("events:PutEvents", "*", {"events:source": ("triptych",)})),
    ],
    ids=str,
)
def test_matching_call_is_permitted(one: Statement, call: Call) -> None:
    assert granting([one], call)


@pytest.mark.parametrize(
    ("one", "call"),
    [
        (OBJECTS, Call("s3:PutObject", f"{BUCKET}/uploads/1")),
        (OBJECTS, Call("s3:GetObject", f"{BUCKET}/outputs/1")),
        (LISTS, Call("s3:ListBucket", BUCKET, {"s3:prefix": ("prepared/1/",)})),
        (LISTS, Call("s3:ListBucket", BUCKET)),
        (COUNTING, Call("dynamodb:UpdateItem", TABLE, {"dynamodb:LeadingKeys": ("jobs of a", "b")})),
        (SENDING, Call("events:PutEvents", "*", {"events:source": ("triptych2",)})),
        (SENDING, Call("events:PutEvents", "*")),
        (SENDING_ALL, Call("events:PutEvents", "*", {"events:source": ("triptych2",)})),
        (
            statement("events:PutEvents", "*", {"StringEquals": {"events:source": "trip*"}}),
            Call("events:PutEvents", "*", {"events:source": ("triptych",)}),
        ),
    ],
    ids=str,
)
def test_other_call_is_denied(one: Statement, call: Call) -> None:
    assert not granting([one], call)


@given(st.text("ab*?/", max_size=8), st.text("ab/\n", max_size=8))
def test_wildcards_match_any_text_or_any_character(pattern: str, value: str) -> None:
    def like(rest: str, text: str) -> bool:
        if not rest:
            return not text
        if rest[0] == "*":
            return like(rest[1:], text) or (bool(text) and like(rest, text[1:]))
        return bool(text) and rest[0] in {"?", text[0]} and like(rest[1:], text[1:])

    assert matches(pattern, value) is like(pattern, value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"Effect": "Deny"}, "Effect"),
        ({"Action": "s3:*"}, "the action s3:\\* is not understood"),
        ({"Action": ["s3:GetObject", "s3:GetObjectAcl"]}, "the action s3:GetObjectAcl is not understood"),
        ({"NotAction": "s3:GetObject"}, "NotAction"),
        ({"Sid": None}, "Sid"),
        ({"Condition": {"StringNotLike": {"s3:prefix": "a"}}}, "Condition.StringNotLike"),
        ({"Condition": {"StringLike": {"s3:prefix": "a"}}}, "the condition key s3:prefix of s3:GetObject"),
        ({"Condition": {"StringLike": {"aws:SourceIp": "a"}}}, "the condition key aws:SourceIp"),
        ({"Resource": "arn:aws:s3:::photos/${aws:username}"}, "the variable"),
    ],
)
def test_unsupported_syntax_is_refused(change: dict[str, object], complaint: str) -> None:
    written = {"Sid": "A", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **change}
    with pytest.raises(ValidationError, match=complaint):
        Policy.model_validate({"Version": "2012-10-17", "Statement": [written]})


def test_statement_has_a_permission_for_each_resource_and_value() -> None:
    one = statement("s3:ListBucket", ["a", "b"], LIKE)
    assert {(each.resource, each.condition) for each in permissions([one])} == {
        (resource, f"s3:prefix {prefix}") for resource in ("a", "b") for prefix in ("uploads/*", "outputs/*")
    }


def test_differences_are_denied_calls_and_unused_permissions() -> None:
    policies = {"f": [statement("s3:ListBucket", "*", LIKE), statement("sqs:SendMessage", ["q1", "q2"])]}
    listed = Call("s3:ListBucket", BUCKET, {"s3:prefix": ("uploads/1/",)})
    assert differences(policies, [("f", listed), ("f", Call("sqs:SendMessage", "q2"))]) == [
        "f never uses s3:ListBucket on * where s3:prefix outputs/* (Sid)",
        "f never uses sqs:SendMessage on q1 (Sid)",
    ]
    refused = Call("sqs:SendMessage", "q3")
    everything = [
        ("f", call)
        for call in (
            listed,
            Call("s3:ListBucket", BUCKET, {"s3:prefix": ("outputs/",)}),
            Call("sqs:SendMessage", "q1"),
            Call("sqs:SendMessage", "q2"),
            refused,
        )
    ]
    assert differences(policies, everything) == ["f is denied sqs:SendMessage on q3"]


@pytest.mark.parametrize(
    ("target", "body", "asked"),
    [
        (
            "DynamoDB_20120810.GetItem",
            {"TableName": "jobs", "Key": {"id": {"S": "1"}}},
            [Call("dynamodb:GetItem", TABLE, {"dynamodb:LeadingKeys": ("1",)})],
        ),
        (
            "DynamoDB_20120810.Query",
            {"TableName": "jobs", "IndexName": "by-owner"},
            [Call("dynamodb:Query", f"{TABLE}/index/by-owner")],
        ),
        (
            "DynamoDB_20120810.TransactWriteItems",
            {
                "TransactItems": [
                    {"Put": {"TableName": "jobs", "Item": {"id": {"S": "1"}, "x": {"N": "1"}}}},
                    {"Update": {"TableName": TABLE, "Key": {"id": {"S": "2"}}}},
                    {"ConditionCheck": {"TableName": "jobs", "Key": {"id": {"S": "3"}}}},
                    {"Delete": {"TableName": "jobs", "Key": {"id": {"S": "4"}}}},
                ]
            },
            [
                Call(f"dynamodb:{action}", TABLE, {"dynamodb:LeadingKeys": (key,)})
                for action, key in (
                    ("PutItem", "1"),
                    ("UpdateItem", "2"),
                    ("ConditionCheckItem", "3"),
                    ("DeleteItem", "4"),
                )
            ],
        ),
        (
            "DynamoDBStreams_20120810.GetRecords",
            {"ShardIterator": f"{TABLE}/stream/now|1|x"},
            [Call("dynamodb:GetRecords", f"{TABLE}/stream/now")],
        ),
        ("DynamoDBStreams_20120810.ListStreams", {}, [Call("dynamodb:ListStreams", "*")]),
        (
            "AmazonSQS.DeleteMessageBatch",
            {"QueueUrl": "http://127.0.0.1:1/123456789012/work"},
            [Call("sqs:DeleteMessage", f"arn:aws:sqs:{HOME}:work")],
        ),
        (
            "AmazonSSM.GetParameter",
            {"Name": "/a/b"},
            [Call("ssm:GetParameter", f"arn:aws:ssm:{HOME}:parameter/a/b")],
        ),
        (
            "AWSEvents.PutEvents",
            {"Entries": [{"Source": "a"}, {"Source": "b"}, {"Source": "a"}]},
            [
                Call(
                    "events:PutEvents", f"arn:aws:events:{HOME}:event-bus/default", {"events:source": (one,)}
                )
                for one in ("a", "b")
            ],
        ),
        ("AWSEvents.PutRule", {"Name": "x"}, [Call("AWSEvents.PutRule", "*")]),
        ("", {}, [Call("a request without a target", "*")]),
    ],
)
def test_json_request_becomes_its_calls(target: str, body: dict[str, Any], asked: list[Call]) -> None:
    assert calls.of_target(target, body, HOME, lambda _: "id") == asked


DELETE = (
    b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a&amp;b</Key></Object>'
    b"<Object><Key>c</Key></Object></Delete>"
)


@pytest.mark.parametrize(
    ("method", "key", "parameters", "headers", "body", "asked"),
    [
        ("GET", "a/b", {"response-content-disposition": "inline"}, {}, b"", [("s3:GetObject", "/a/b")]),
        ("HEAD", "a", {"X-Amz-Signature": "s"}, {}, b"", [("s3:GetObject", "/a")]),
        ("PUT", "a", {"x-id": "PutObject"}, {}, b"", [("s3:PutObject", "/a")]),
        (
            *("PUT", "a", {}, {"x-amz-copy-source": "photos/b%20c"}, b""),
            [("s3:PutObject", "/a"), ("s3:GetObject", "/b c")],
        ),
        ("DELETE", "a", {}, {}, b"", [("s3:DeleteObject", "/a")]),
        ("POST", "", {"delete": ""}, {}, DELETE, [("s3:DeleteObject", "/a&b"), ("s3:DeleteObject", "/c")]),
        ("GET", "a", {"acl": ""}, {}, b"", [("s3:GET acl", "/a")]),
        ("PUT", "", {"policy": ""}, {}, b"", [("s3:PUT policy", "")]),
        ("HEAD", "", {}, {}, b"", [("s3:ListBucket", "")]),
    ],
)
def test_s3_request_becomes_its_calls(
    method: str,
    key: str,
    parameters: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    asked: list[tuple[str, str]],
) -> None:
    found = calls.of_s3(method, "photos", key, parameters, headers, body)
    assert found == [Call(action, f"{BUCKET}{rest}") for action, rest in asked]


def test_list_call_has_its_prefix() -> None:
    assert calls.of_s3("GET", "photos", "", {"list-type": "2", "prefix": "a/"}, {}, b"") == [
        Call("s3:ListBucket", BUCKET, {"s3:prefix": ("a/",)})
    ]

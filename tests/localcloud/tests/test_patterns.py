"""Tests of event patterns: the supported syntax, the refused rest, and the template's own patterns."""

from __future__ import annotations

import itertools
import json
from functools import cache

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.localcloud import resources as cfn
from tests.localcloud.patterns import Pattern, matches
from tests.localcloud.template import TEMPLATE, load
from triptych.job import JobStatus

PATTERN: TypeAdapter[Pattern] = TypeAdapter(Pattern)


@pytest.mark.parametrize(
    ("event", "matching"),
    [
        ({"a": {"b": "x"}, "c": "y"}, True),
        ({"a": {"b": "z", "more": 1}, "c": "y"}, True),
        ({"a": {"b": "w"}, "c": "y"}, False),
        ({"a": {"b": "x"}}, False),
        ({"a": "x", "c": "y"}, False),
        ({"c": "y"}, False),
        ([], False),
    ],
)
def test_event_matches_if_each_name_has_a_listed_value(event: object, matching: object) -> None:
    assert matches({"a": {"b": ["x", "z"]}, "c": ["y"]}, event) is matching


@pytest.mark.parametrize(
    "pattern",
    [
        {},
        {"a": []},
        {"a": {}},
        {"a": "x"},
        {"a": [1]},
        {"a": [None]},
        {"a": [{"prefix": "x"}]},
        {"a": [{"anything-but": ["x"]}]},
        {"a": [{"exists": True}]},
        {"$or": [{"a": ["x"]}]},
    ],
)
def test_unsupported_syntax_is_refused(pattern: object) -> None:
    with pytest.raises(ValidationError):
        PATTERN.validate_python(pattern)


OPEN = {status for status in JobStatus if not status.is_terminal}
DELETED = "DELETED"  # of the placeholder that takes a deleted job's place


@cache
def _announcements() -> cfn.StreamMapping:
    properties = load(TEMPLATE).resources["AnnounceFunctionEnd"].properties
    return cfn.StreamMapping.model_validate(
        {
            **properties,
            "EventSourceArn": "",
            "FunctionName": "",
            "DestinationConfig": {"OnFailure": {"Destination": ""}},
        }
    )


@pytest.mark.parametrize(("old", "new"), [*itertools.product([None, DELETED, *JobStatus], repeat=2)])
def test_announce_receives_exactly_the_ends_of_jobs(old: str | None, new: str | None) -> None:
    images = {"OldImage": old, "NewImage": new}
    record: dict[str, object] = {
        "dynamodb": {name: {"status": {"S": str(status)}} for name, status in images.items() if status}
    }
    record["eventName"] = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    filters = _announcements().filter_criteria.filters
    ends = old in OPEN and new not in OPEN
    assert any(matches(one.pattern, record) for one in filters) is ends


def test_pattern_of_a_mapping_is_validated() -> None:
    properties = _announcements().model_dump(by_alias=True)
    properties["FilterCriteria"] = {"Filters": [{"Pattern": json.dumps({"eventName": [{"prefix": "M"}]})}]}
    with pytest.raises(ValidationError, match="Pattern"):
        cfn.StreamMapping.model_validate(properties)

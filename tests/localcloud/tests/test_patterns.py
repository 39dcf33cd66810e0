"""Event patterns: the part that is understood, the rest that is refused, and the template's own."""

from __future__ import annotations

import itertools
import json

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.localcloud import resources as cfn
from tests.localcloud.patterns import Pattern, matches
from tests.localcloud.template import TEMPLATE, load
from triptych.job import JobStatus

PATTERN: TypeAdapter[Pattern] = TypeAdapter(Pattern)


@pytest.mark.parametrize(
    ("event", "wanted"),
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
def test_every_name_has_one_of_its_values(event: object, wanted: object) -> None:
    assert matches({"a": {"b": ["x", "z"]}, "c": ["y"]}, event) is wanted


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
def test_what_is_not_understood_is_refused(pattern: object) -> None:
    with pytest.raises(ValidationError):
        PATTERN.validate_python(pattern)


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


@pytest.mark.parametrize(("old", "new"), [*itertools.product([None, *JobStatus], repeat=2)])
def test_announce_sees_every_end_and_nothing_else(old: JobStatus | None, new: JobStatus | None) -> None:
    images = {"OldImage": old, "NewImage": new}
    record = {"dynamodb": {name: {"status": {"S": str(status)}} for name, status in images.items() if status}}
    (criterion,) = _announcements().filter_criteria.filters
    ends = old is not None and new is not None and not old.is_terminal and new.is_terminal
    assert matches(criterion.pattern, record) is ends


def test_a_pattern_of_a_mapping_is_read_strictly() -> None:
    properties = _announcements().model_dump(by_alias=True)
    properties["FilterCriteria"] = {"Filters": [{"Pattern": json.dumps({"eventName": [{"prefix": "M"}]})}]}
    with pytest.raises(ValidationError, match="Pattern"):
        cfn.StreamMapping.model_validate(properties)

"""Holds the local cloud against AWS's recorded answers. Its differences are those that differences.py lists."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, cast

import pytest
from moto.events.models import EventPattern
from pydantic import TypeAdapter, ValidationError

from tests.localcloud import aws, streams
from tests.localcloud.event_sources import EventSources
from tests.localcloud.functions import Functions, Machine, Result
from tests.localcloud.patterns import Pattern, matches
from tests.localcloud.stack import EventSource, StreamSource
from tests.localcloud.streams import Streams
from tests.localcloud.tests.differences import ANSWERS, NOT_PLAYED, REFUSED_PATTERNS
from tests.recorded import mappings
from tests.recorded.cases import Case, changed, files, load
from tests.recorded.mappings import ERROR, ScriptedFunction
from tests.recorded.play import Cloud, assert_listed, differences, name_of

REGION = "us-east-1"
SCRIPTS = [case for file in ("s3", "sqs", "events") for case in load(file)]
PATTERNS = load("event_patterns")
QUEUES = load("queue_mappings")
STREAMS = [case for case in load("stream_mappings") if f"stream_mappings: {case}" not in NOT_PLAYED]
PATTERN: TypeAdapter[Pattern] = TypeAdapter(Pattern)
EVERY_RECORD = {"eventName": ["INSERT", "MODIFY", "REMOVE"]}
OPERATORS = {
    "$or",
    "anything-but",
    "cidr",
    "equals-ignore-case",
    "exists",
    "numeric",
    "prefix",
    "suffix",
    "wildcard",
}


def test_answers_are_those_that_were_copied() -> None:
    """Where a cloud differs from AWS, the tests below cannot see that AWS's answer was changed by mistake."""
    assert changed() == set()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123  # moto prints a traceback for what it lacks
        running = aws.start(stderr=nowhere)
        yield Cloud(running.endpoint, aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY, REGION)
        running.stop()


@pytest.fixture
def names(cloud: Cloud) -> dict[str, str]:
    return cloud.prepare(aws.ACCOUNT)


def test_every_recorded_case_is_compared_or_listed() -> None:
    assert files() == {"s3", "sqs", "events", "event_patterns", "queue_mappings", "stream_mappings"}
    every = {name_of(case) for file in files() for case in load(file)}
    played = {name_of(case) for case in [*SCRIPTS, *PATTERNS, *QUEUES, *STREAMS]}
    assert every - played == set(NOT_PLAYED)
    assert set(ANSWERS) <= played
    assert len(every) == 285


@pytest.mark.parametrize("case", SCRIPTS, ids=name_of)
def test_answer_differs_only_where_listed(case: Case, cloud: Cloud, names: dict[str, str]) -> None:
    assert_listed(case, ANSWERS, differences(case, cloud, names))


# Event patterns.


def outcome(case: Case, match: Callable[[str, Any], object]) -> object:
    """Return what the matcher says of the case's event, or None if it refuses the pattern."""
    pattern, event = case.content["pattern"], case.content["event"]
    try:
        return match(pattern if isinstance(pattern, str) else json.dumps(pattern), event)
    except ValidationError:
        return None


def syntax(pattern: object) -> set[str]:
    """Return what a pattern has besides names and strings."""
    match pattern:
        case dict():
            found = [{name} if name in OPERATORS else syntax(member) for name, member in pattern.items()]
        case list():
            found = [syntax(one) for one in pattern]
        case str():
            return set()
        case _:
            return {"null" if pattern is None else type(pattern).__name__}
    return set().union(*found)


@pytest.mark.parametrize("case", PATTERNS, ids=name_of)
def test_pattern_has_the_recorded_verdict_or_is_refused(case: Case) -> None:
    ours = outcome(case, lambda pattern, event: matches(PATTERN.validate_json(pattern), event))
    if isinstance(case.content["answer"], str) or ours is None:
        assert ours is None  # AWS refuses the pattern or the event
    else:
        assert ours is case.content["answer"]
        pattern = EventPattern.load(json.dumps(case.content["pattern"]))  # moto's matches the bus's events
        assert pattern.matches_event(case.content["event"]) is ours


def test_patterns_that_only_aws_accepts_are_listed() -> None:
    refused = Counter(
        ", ".join(sorted(syntax(json.loads(pattern) if isinstance(pattern, str) else pattern)))
        for case in PATTERNS
        if isinstance(case.content["answer"], bool)
        and outcome(case, lambda pattern, _: PATTERN.validate_json(pattern)) is None
        for pattern in [case.content["pattern"]]
    )
    assert refused == REFUSED_PATTERNS


# Event source mappings.


class Invoked:
    """A replacement for the functions, which invokes a scripted one."""

    def __init__(self, function: ScriptedFunction) -> None:
        self._function = function

    def invoke(self, name: str, payload: bytes) -> Result:
        result = self._function.invoke(json.loads(payload))
        if result == ERROR:
            return Result(b'{"errorType": "Exception"}', "Unhandled")
        return Result(json.dumps(result).encode())

    def submit(self, name: str, payload: bytes) -> Future[Result]:
        future: Future[Result] = Future()
        future.set_result(self.invoke(name, payload))
        return future

    def wait_until_free(self, name: str, seconds: float) -> bool:
        return True


def machines(cloud: Cloud) -> dict[str, Machine]:
    return {"Toy": Machine(cloud.endpoint, REGION, aws.ACCOUNT, cloud.access_key_id, cloud.secret_access_key)}


@pytest.mark.parametrize("case", QUEUES, ids=name_of)
def test_queue_invokes_as_recorded(case: Case, cloud: Cloud, names: dict[str, str]) -> None:
    mappings.prepare_queue(case, cloud, names, visibility=1)
    function = ScriptedFunction(case)
    source = EventSource(
        queue_url=names["queue"],
        queue_arn=names["queue_arn"],
        function="Toy",
        batch_size=10,
        batching_window=0,
        maximum_concurrency=None,
        reports_batch_item_failures=case.content["reports"],
    )
    with EventSources([source], cast("Functions", Invoked(function)), machines(cloud), workers=1):
        assert_listed(case, ANSWERS, mappings.queue_differences(case, function, cloud, names, 20))


@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_stream_invokes_as_recorded(
    case: Case, cloud: Cloud, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = case.content
    if "refused" in content:
        with pytest.raises(ValidationError):
            PATTERN.validate_json(content["pattern"])
        return
    monkeypatch.setattr(streams, "LONGEST_BACKOFF", 0)
    stream = mappings.prepare_stream(case, cloud, names)
    names |= {"stream_arn": stream, "function_arn": f"arn:aws:lambda:{REGION}:{aws.ACCOUNT}:function:Toy"}
    function = ScriptedFunction(case)
    source = StreamSource(
        stream_arn=stream,
        function="Toy",
        patterns=(PATTERN.validate_python(content.get("pattern", EVERY_RECORD)),),
        batch_size=content.get("batch_size", 1),
        maximum_retries=content.get("maximum_retries", 0),
        bisects=False,
        reports_batch_item_failures=content.get("reports", False),
        failure_destination=names["dead_letters"],
    )
    with Streams([source], cast("Functions", Invoked(function)), machines(cloud)):
        assert_listed(case, ANSWERS, mappings.stream_differences(case, function, cloud, names, 20))

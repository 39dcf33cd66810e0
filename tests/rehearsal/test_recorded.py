"""Holds MiniStack against AWS's recorded answers. Its differences are those that differences.py lists."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localcloud.http_server import HttpServer, Request, Response
from tests.recorded import mappings
from tests.recorded.cases import Case, files, load
from tests.recorded.mappings import ScriptedFunction
from tests.recorded.play import Cloud, assert_listed, compare, differences, name_of
from tests.rehearsal import ministack
from tests.rehearsal.differences import ANSWERS, NOT_PLAYED, PATTERN_VERDICTS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MiniStack is set up for Linux")

SCRIPTS = [case for file in ("s3", "sqs", "events") for case in load(file)]
PATTERNS = load("event_patterns")
QUEUES = load("queue_mappings")
STREAMS = [case for case in load("stream_mappings") if f"stream_mappings: {case}" not in NOT_PLAYED]
# Asks the test for the result of each invocation.
CODE = """
import json, os, urllib.request

def handler(event, context):
    request = urllib.request.Request(os.environ["TEST_URL"], json.dumps(event).encode())
    with urllib.request.urlopen(request) as response:
        result = json.load(response)
    if result == "error":
        raise RuntimeError("as recorded")
    return result
"""
FUNCTION_SECONDS = 5  # a cold start on a busy machine takes more than a second
PATIENCE = 6  # seconds; MiniStack polls each second
EVERY_RECORD = {"eventName": ["INSERT", "MODIFY", "REMOVE"]}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with TemporaryDirectory() as folder, ministack.running(Path(folder)) as running:
        yield Cloud(running.endpoint, "test", "test", ministack.REGION)


@pytest.fixture(scope="module")
def account(cloud: Cloud) -> str:
    return str(cloud.client("sts").get_caller_identity()["Account"])


@pytest.fixture
def names(cloud: Cloud, account: str) -> dict[str, str]:
    return cloud.prepare(account)


@pytest.fixture(scope="module")
def role(cloud: Cloud) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    made = cloud.client("iam").create_role(
        RoleName="recorded",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    everything = {"Effect": "Allow", "Action": ["sqs:*", "dynamodb:*", "s3:*", "logs:*"], "Resource": "*"}
    cloud.client("iam").put_role_policy(
        RoleName="recorded",
        PolicyName="recorded",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )
    return str(made["Role"]["Arn"])


def test_every_recorded_case_is_compared_or_listed() -> None:
    every = {name_of(case) for file in files() for case in load(file)}
    played = {name_of(case) for case in [*SCRIPTS, *PATTERNS, *QUEUES, *STREAMS]}
    assert every - played == set(NOT_PLAYED)
    assert set(ANSWERS) <= played
    assert set(PATTERN_VERDICTS) <= {case.name for case in PATTERNS}
    assert len(every) == 285


@pytest.mark.parametrize("case", SCRIPTS, ids=name_of)
def test_answer_differs_only_where_listed(case: Case, cloud: Cloud, names: dict[str, str]) -> None:
    assert_listed(case, ANSWERS, differences(case, cloud, names))


def test_verdicts_on_patterns_differ_only_where_listed(cloud: Cloud) -> None:
    differing: dict[str, Any] = {}
    for case in PATTERNS:
        pattern, event = (
            value if isinstance(value, str) else json.dumps(value)
            for value in (case.content["pattern"], case.content["event"])
        )
        try:
            verdict = cloud.client("events").test_event_pattern(EventPattern=pattern, Event=event)["Result"]
        except ClientError as error:
            verdict = error.response["Error"]["Code"]
        if verdict != case.content["answer"]:
            differing[case.name] = verdict
    assert differing == {name: verdict for name, (_, verdict) in PATTERN_VERDICTS.items()}


@contextmanager
def deployed(function: ScriptedFunction, cloud: Cloud, role: str, name: str) -> Iterator[str]:
    """Deploy a function that takes its results from `function`; yield its ARN."""

    def answer(request: Request) -> Response:
        return Response(200, (), json.dumps(function.invoke(json.loads(request.body))).encode())

    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", CODE)
    with HttpServer().start(answer) as server:
        made = cloud.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="app.handler",
            Role=role,
            Timeout=FUNCTION_SECONDS,
            Code={"ZipFile": package.getvalue()},
            Environment={"Variables": {"TEST_URL": server.url}},
        )
        yield str(made["FunctionArn"])


@contextmanager
def mapped(cloud: Cloud, **settings: Any) -> Iterator[None]:
    """Map a source to a function until the context ends."""
    mapping = cloud.client("lambda").create_event_source_mapping(**settings)["UUID"]
    yield
    cloud.client("lambda").delete_event_source_mapping(UUID=mapping)


@pytest.mark.parametrize("case", QUEUES, ids=name_of)
def test_queue_invokes_as_recorded(case: Case, cloud: Cloud, role: str, names: dict[str, str]) -> None:
    mappings.prepare_queue(case, cloud, names, visibility=FUNCTION_SECONDS)
    function = ScriptedFunction(case)
    with (
        deployed(function, cloud, role, names["name"]) as arn,
        mapped(
            cloud,
            FunctionName=arn,
            EventSourceArn=names["queue_arn"],
            FunctionResponseTypes=["ReportBatchItemFailures"] if case.content["reports"] else [],
        ),
    ):
        assert_listed(
            case, ANSWERS, mappings.queue_differences(case, function, cloud, names, 3 * FUNCTION_SECONDS)
        )


@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_stream_invokes_as_recorded(case: Case, cloud: Cloud, role: str, names: dict[str, str]) -> None:
    content = case.content
    function = ScriptedFunction(case)
    stream = mappings.prepare_stream(case, cloud, names)
    pattern = content.get("pattern", EVERY_RECORD)
    settings = {
        "EventSourceArn": stream,
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": content.get("batch_size", 1),
        "MaximumRetryAttempts": content.get("maximum_retries", 0),
        "FilterCriteria": {
            "Filters": [{"Pattern": pattern if isinstance(pattern, str) else json.dumps(pattern)}]
        },
        "FunctionResponseTypes": ["ReportBatchItemFailures"] if content.get("reports") else [],
        "DestinationConfig": {"OnFailure": {"Destination": names["dead_letter_arn"]}},
    }
    with deployed(function, cloud, role, names["name"]) as arn:
        if "refused" in content:
            try:
                with mapped(cloud, FunctionName=arn, **settings):
                    found = {"refused": "accepted"}
            except ClientError as error:
                found = dict(
                    compare({"refused": content["refused"]}, {"refused": error.response["Error"]["Code"]})
                )
            assert_listed(case, ANSWERS, found)
            return
        with mapped(cloud, FunctionName=arn, **settings):
            names |= {"stream_arn": stream, "function_arn": arn}
            assert_listed(case, ANSWERS, mappings.stream_differences(case, function, cloud, names, PATIENCE))

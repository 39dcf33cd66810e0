"""Each alarm watches what the code or AWS really emits: namespace, name, dimension and its value, statistic and period.

What the code emits is read from its sources and from what it prints, not from a list. A change of any part of an alarm is
noticed, as the last test shows.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, get_args

import pytest

from tests.localcloud.template import translate
from tests.support.sources import SOURCES
from triptych.metrics import Metric

RESOURCES: Any = translate()["Resources"]
ALARMS = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
STACK = {"Ref": "AWS::StackName"}
COUNT = "from triptych.runtime.observability import *; import sys; [count(name) for name in sys.argv[1:]]; metrics.flush_metrics()"


class Watched(NamedTuple):
    """A metric that an alarm watches."""

    namespace: str
    name: str
    dimension: str
    value: str  # JSON, as in the template
    statistic: str
    seconds: int


def strings_of(tree: ast.AST) -> Iterator[str]:
    """Return the strings that code can pass on: no keys of a table, and none of a type alias that lists all metrics."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    below = tree.values if isinstance(tree, ast.Dict) else ast.iter_child_nodes(tree)
    for node in below if not isinstance(tree, ast.TypeAlias) else ():
        yield from strings_of(node)


@cache
def emitted() -> dict[str, tuple[str, str, str]]:
    """Return the namespace, the dimension and its value of each metric that the code emits, by its name."""
    written = {text for source in SOURCES for text in strings_of(ast.parse(source.read_text()))}
    names = sorted(written & set(get_args(Metric.__value__)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "STACK_NAME": "the stack's name"}
    printed = subprocess.run(
        [sys.executable, "-c", COUNT, *names], env=environment, capture_output=True, check=True, text=True
    ).stdout
    found = {}
    for line in map(json.loads, printed.splitlines()):
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        ((dimension,),) = directive["Dimensions"]
        for metric in directive["Metrics"]:
            found[metric["Name"]] = (directive["Namespace"], dimension, line[dimension])
    assert found.keys() == set(names)
    return found


def ours(name: str, seconds: int) -> Watched:
    """Return a count of the code, as the alarm must name it."""
    namespace, dimension, value = emitted()[name]
    assert value == "the stack's name"
    return Watched(namespace, name, dimension, json.dumps(STACK), "Sum", seconds)


# The names and dimensions of AWS:
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
def functions(metric: str, seconds: int, *names: str) -> set[Watched]:
    """Return a metric of some functions, or of all."""
    found = names or [name for name, one in RESOURCES.items() if one["Type"] == "AWS::Lambda::Function"]
    return {
        Watched("AWS/Lambda", metric, "FunctionName", json.dumps({"Ref": name}), "Sum", seconds)
        for name in found
    }


def queue(name: str, metric: str) -> set[Watched]:
    """Return a metric of a queue. A reference to a queue is its URL, so its name is an attribute."""
    assert RESOURCES[name]["Type"] == "AWS::SQS::Queue"
    return {
        Watched(
            "AWS/SQS",
            metric,
            "QueueName",
            json.dumps({"Fn::GetAtt": [name, "QueueName"]}),
            "Maximum",
            300,
        )
    }


def oldest(name: str) -> set[Watched]:
    return queue(name, "ApproximateAgeOfOldestMessage")


def waiting(name: str) -> set[Watched]:
    return queue(name, "ApproximateNumberOfMessagesVisible")


def watched() -> dict[str, set[Watched]]:
    """Return what each alarm must watch, by the alarm's name."""
    api = Watched("AWS/ApiGateway", "5xx", "ApiId", json.dumps({"Ref": "HttpApi"}), "Sum", 300)
    made = ("PredictionsCreated", "PredictionsAdopted", "PredictionsDoubled")
    return {
        "JobsFailedByUs": {ours("JobsFailedByUs", 300)},
        "ApiServerErrors": {api, ours("WebhooksPutOff", 300)},
        "FunctionErrors": functions("Errors", 900) | {ours("UnexpectedErrors", 900)},
        "FunctionThrottles": functions("Throttles", 300),
        "RecursionStopped": functions(
            "RecursiveInvocationsDropped", 300, "GenerateFunction", "WatchdogFunction"
        ),
        "WebhooksRejected": {ours("WebhooksRejected", 300)},
        "ManyPredictions": {ours(name, 3600) for name in made},
        "GenerationDelayed": oldest("GenerationQueue"),
        "LineTooLong": oldest("WaitingQueue"),
        "WatchdogDelayed": oldest("WatchdogQueue"),
        "JobCallbacksDelayed": oldest("JobCallbackQueue"),
        "GenerationDeadLetters": waiting("GenerationDeadLetterQueue"),
        "WatchdogDeadLetters": waiting("WatchdogDeadLetterQueue"),
        "EndsNotAnnounced": {ours("JobsSucceeded", 3600)}
        | functions("Invocations", 3600, "AnnounceFunction"),
        "AnnounceDeadLetters": waiting("AnnounceDeadLetterQueue"),
        "CallbackDeadLetters": waiting("CallbackDeadLetterQueue"),
        "JobCallbackDeadLetters": waiting("JobCallbackDeadLetterQueue"),
    }


def stats_of(alarm: dict[str, Any]) -> list[tuple[dict[str, Any], str, int]]:
    """Return each metric of an alarm, with its statistic and its period."""
    if "Metrics" not in alarm:
        return [(alarm, alarm["Statistic"], alarm["Period"])]
    queries = [query["Fn::If"][1] if "Fn::If" in query else query for query in alarm["Metrics"]]
    stats = [query["MetricStat"] for query in queries if "MetricStat" in query]
    return [(stat["Metric"], stat["Stat"], stat["Period"]) for stat in stats]


def read(alarm: dict[str, Any]) -> list[Watched]:
    """Return what an alarm watches."""
    return [
        Watched(
            metric["Namespace"],
            metric["MetricName"],
            "+".join(one["Name"] for one in metric["Dimensions"]),
            "+".join(json.dumps(one["Value"]) for one in metric["Dimensions"]),
            statistic,
            seconds,
        )
        for metric, statistic, seconds in stats_of(alarm)
    ]


def test_each_metric_of_the_code_is_counted_somewhere() -> None:
    assert emitted().keys() == set(get_args(Metric.__value__))


def test_each_function_knows_the_stacks_name() -> None:
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::Lambda::Function" and name != "PageFunction":  # it counts nothing
            assert resource["Properties"]["Environment"]["Variables"]["STACK_NAME"] == STACK, name


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_watches_what_is_emitted(name: str) -> None:
    found = read(ALARMS[name])
    assert len(found) == len(set(found))
    assert set(found) == watched()[name]


def changed(alarm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return copies of an alarm, each with another part changed."""
    parts: list[tuple[str, Any]] = [
        *(("Namespace", "Other"), ("MetricName", "Other"), ("Dimensions", [])),
        *(("Name", "Other"), ("Value", {"Ref": "Other"}), ("Value", "triptych")),
        *(("Statistic", "Average"), ("Stat", "Average"), ("Period", 60)),
    ]
    for number in range(len(stats_of(alarm))):
        for key, value in parts:
            other = copy.deepcopy(alarm)
            if any(change(one, key, value) for one in places(other, number)):
                yield other


def places(alarm: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """Return the objects that describe one metric of an alarm."""
    metric, _, _ = stats_of(alarm)[number]
    yield metric
    yield metric["Dimensions"][0]
    queries = [query["Fn::If"][1] if "Fn::If" in query else query for query in alarm.get("Metrics", ())]
    yield from [query["MetricStat"] for query in queries if "MetricStat" in query][number : number + 1]


def change(place: dict[str, Any], key: str, value: object) -> bool:
    """Change a part if it is there; return whether it is."""
    if key not in place:
        return False
    place[key] = value
    return True


@pytest.mark.parametrize("name", ALARMS)
def test_each_changed_part_of_an_alarm_is_noticed(name: str) -> None:
    others = list(changed(ALARMS[name]))
    assert len(others) >= 8
    assert [other for other in others if set(read(other)) == watched()[name]] == []

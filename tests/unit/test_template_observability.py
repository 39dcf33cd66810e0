"""The alarms, the dashboard and the access log of template.yaml. The runbook has a row for each alarm."""

from __future__ import annotations

import json
import re
import zoneinfo
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from tests.localcloud.template import TemplateError, load, translate
from tests.support.readme import rows
from tests.support.sources import SOURCES
from triptych.metrics import Metric

RESOURCES: Any = translate()["Resources"]
ALARMS = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
# AWS's own metrics, by namespace and dimension.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
AWS_METRICS = {
    ("AWS/ApiGateway", "ApiId"): {"4xx", "5xx", "Count", "Latency", "IntegrationLatency"},
    ("AWS/Lambda", "FunctionName"): {
        *("Errors", "Throttles", "Duration", "Invocations"),
        "RecursiveInvocationsDropped",  # https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
    },
    ("AWS/SQS", "QueueName"): {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"},
    ("Triptych", "Stack"): set(get_args(Metric.__value__)),
}


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    if "Metrics" not in alarm:
        return [alarm]
    queries = [query["Fn::If"][1] if "Fn::If" in query else query for query in alarm["Metrics"]]
    return [query["MetricStat"]["Metric"] for query in queries if "MetricStat" in query]


def owners(alarm: dict[str, Any], metric: str) -> set[str]:
    """Return the logical ids of the resources whose metric the alarm watches."""
    found = [one["Dimensions"][0]["Value"] for one in metrics_of(alarm) if one["MetricName"] == metric]
    return {value.get("Ref") or value["Fn::GetAtt"][0] for value in found}


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_watches_existing_metrics_and_notifies_of_both_changes(name: str) -> None:
    alarm = ALARMS[name]
    for metric in metrics_of(alarm):
        (dimension,) = metric["Dimensions"]
        assert metric["MetricName"] in AWS_METRICS[metric["Namespace"], dimension["Name"]]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "Alarms"}]
    assert alarm["TreatMissingData"] == "notBreaching"


# Alarm → its statistic, its period in seconds and the highest value without an alarm, as in the runbook.
SIMPLE = {
    "JobsFailedByUs": ("Sum", 300, 0),
    "WebhooksRejected": ("Sum", 300, 10),
    "GenerationDelayed": ("Maximum", 300, 600),
    "LineTooLong": ("Maximum", 300, 900),
    "WatchdogDelayed": ("Maximum", 300, 1500),
    "JobCallbacksDelayed": ("Maximum", 300, 900),
    "JobCallbackDeadLetters": ("Maximum", 300, 0),
    "GenerationDeadLetters": ("Maximum", 300, 0),
    "WatchdogDeadLetters": ("Maximum", 300, 0),
    "AnnounceDeadLetters": ("Maximum", 300, 0),
    "CallbackDeadLetters": ("Maximum", 300, 0),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_alarm_threshold_matches_the_runbook(name: str) -> None:
    alarm, (statistic, seconds, quiet) = ALARMS[name], SIMPLE[name]
    assert (alarm["Statistic"], alarm["Period"], alarm["Threshold"]) == (statistic, seconds, quiet)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["EvaluationPeriods"] * seconds <= 600


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        (name, "SUM(FILL(METRICS(), 0))")
        for name in ("FunctionErrors", "FunctionThrottles", "RecursionStopped", "ManyPredictions")
    ],
)
def test_errors_and_throttles_are_summed(name: str, expression: str) -> None:
    alarm = ALARMS[name]
    assert [one["Expression"] for one in alarm["Metrics"] if "Expression" in one] == [expression]
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert name == "ManyPredictions" or alarm["Threshold"] <= 2
    queries = [query["Fn::If"][1] if "Fn::If" in query else query for query in alarm["Metrics"]]
    assert {query["MetricStat"]["Stat"] for query in queries if "MetricStat" in query} == {"Sum"}


def test_put_off_webhooks_are_no_server_errors() -> None:
    alarm = ALARMS["ApiServerErrors"]
    queries = {query["Id"]: query for query in alarm["Metrics"]}
    names = {
        key: one["MetricStat"]["Metric"]["MetricName"] for key, one in queries.items() if "MetricStat" in one
    }
    assert names == {"answers": "5xx", "put_off": "WebhooksPutOff"}
    assert queries["all"]["Expression"] == "FILL(answers, 0) - FILL(put_off, 0)"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 2)
    assert alarm["EvaluationPeriods"] == 1


@pytest.mark.parametrize("name", [name for name, alarm in ALARMS.items() if "Metrics" in alarm])
def test_alarm_of_several_metrics_looks_at_their_sum_alone(name: str) -> None:
    queries = [query["Fn::If"][1] if "Fn::If" in query else query for query in ALARMS[name]["Metrics"]]
    assert [query["Id"] for query in queries if query.get("ReturnData", True)] == ["all"]


def test_alarm_on_predictions_counts_all_that_exist_in_an_hour() -> None:
    alarm = ALARMS["ManyPredictions"]
    assert alarm["Threshold"] == {"Ref": "PredictionsPerHourAlarm"}
    periods = {one["MetricStat"]["Period"] for one in alarm["Metrics"] if "MetricStat" in one}
    assert periods == {3600}
    names = {one["MetricName"] for one in metrics_of(alarm)}
    assert names == {"PredictionsCreated", "PredictionsAdopted", "PredictionsDoubled"}
    assert alarm["EvaluationPeriods"] == 1


def test_alarm_on_predictions_can_be_turned_off() -> None:
    without = load(overrides={"PredictionsPerHourAlarm": "0"})
    assert "ManyPredictions" not in without.resources
    assert "ManyPredictions" in load().resources
    limits = load().parameters
    assert 0 < int(limits["PredictionsPerHourAlarm"]) < int(limits["DailyPictures"])


def test_access_log_holds_nothing_that_a_client_writes() -> None:
    (stage,) = (one for one in RESOURCES.values() if one["Type"] == "AWS::ApiGatewayV2::Stage")
    logged = re.findall(r"\$context\.([\w.]+)", stage["Properties"]["AccessLogSettings"]["Format"])
    assert logged
    assert not [name for name in logged if re.match(r"path|identity|authorizer\.(?!error$)|domain", name)]
    assert not [name for name in logged if "query" in name.lower() or "header" in name.lower()]


def test_successes_without_any_announcement_in_two_hours_are_an_alarm() -> None:
    alarm = ALARMS["EndsNotAnnounced"]
    queries = {query["Id"]: query for query in alarm["Metrics"]}
    assert queries["all"]["Expression"] == "IF(FILL(ended, 0) > 0 AND FILL(announced, 0) == 0, 1, 0)"
    (of,) = queries["announced"]["MetricStat"]["Metric"]["Dimensions"]
    assert of["Value"] == {"Ref": "AnnounceFunction"}
    assert queries["ended"]["MetricStat"]["Metric"]["MetricName"] == "JobsSucceeded"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (2, 24)


def test_each_alarm_has_its_row_in_the_runbook() -> None:
    assert set(rows("Runbook")) == set(ALARMS)


def test_saved_query_shows_only_keys_that_are_logged() -> None:
    (query,) = [
        one["Properties"] for one in RESOURCES.values() if one["Type"] == "AWS::Logs::QueryDefinition"
    ]
    fields = query["QueryString"].splitlines()[0].removeprefix("fields ").split(", ")
    powertools = {"@timestamp", "service", "level", "message"}
    written = "".join(source.read_text() for source in SOURCES)
    assert [key for key in fields if key not in powertools and not re.search(rf"\b{key}=", written)] == []


def test_every_function_and_queue_is_watched() -> None:
    functions = {name for name, one in RESOURCES.items() if one["Type"] == "AWS::Lambda::Function"}
    assert owners(ALARMS["FunctionErrors"], "Errors") == functions
    assert owners(ALARMS["FunctionThrottles"], "Throttles") == functions
    queues = {name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == "AWS::SQS::Queue"}
    main = {name for name, queue in queues.items() if "RedrivePolicy" in queue}
    watched = [owners(alarm, "ApproximateAgeOfOldestMessage") for alarm in ALARMS.values()]
    assert set().union(*watched) == main
    watched = [owners(alarm, "ApproximateNumberOfMessagesVisible") for alarm in ALARMS.values()]
    assert set().union(*watched) == queues.keys() - main


def test_only_the_stacks_own_alarms_may_publish() -> None:
    statements = RESOURCES["AlarmsOnly"]["Properties"]["PolicyDocument"]["Statement"]
    (allowed,) = [statement for statement in statements if statement["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    (source,) = allowed["Condition"]["ArnLike"].values()
    assert source["Fn::Sub"].endswith(":${AWS::AccountId}:alarm:${AWS::StackName}-*")


def test_alarm_email_is_subscribed_only_when_given() -> None:
    assert "AlarmsToEmail" not in load().resources
    assert "AlarmsToEmail" in load(overrides={"AlarmEmail": "ops@example.com"}).resources
    with pytest.raises(TemplateError, match="parameter AlarmEmail"):
        load(overrides={"AlarmEmail": "no-address"})


# ── the dashboard ──


def dashboard(**overrides: str) -> dict[str, Any]:
    """Return the body of the dashboard with its names resolved."""
    loaded = load(overrides=overrides)
    for name, resource in loaded.resources.items():
        loaded.scope.refs[name] = name
        loaded.scope.attributes[name] = {"Arn": f"arn:{name}", "QueueName": name}
        assert resource
    body = loaded.scope.resolve(loaded.resources["Dashboard"].properties["DashboardBody"])
    return dict(json.loads(str(body)))


def graphed(body: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for widget in body["widgets"]:
        before: list[str] = []
        for metric in widget["properties"].get("metrics", ()):
            given = [part for part in metric if isinstance(part, str)]
            if given[0] == "...":  # CloudWatch's shorthand: the first parts are the previous metric's
                given = before[: len(before) - len(given) + 1] + given[1:]
            before = [before[at] if part == "." else part for at, part in enumerate(given)]
            namespace, name, dimension, value = before
            yield namespace, name, dimension, value


def test_each_graph_shows_an_existing_metric() -> None:
    found = list(graphed(dashboard()))
    assert found
    for namespace, name, dimension, value in found:
        assert name in AWS_METRICS[namespace, dimension]
        assert value == "triptych" if dimension == "Stack" else value in RESOURCES


def test_dashboard_shows_every_metric_except_client_requests() -> None:
    shown = {name for namespace, name, *_ in graphed(dashboard()) if namespace == "Triptych"}
    assert set(get_args(Metric.__value__)) - shown == {"JobsRetried", "JobsDeleted"}


@pytest.mark.parametrize("callback", ["", "https://example.com/ends"])
@pytest.mark.parametrize("predictions", ["0", "300"])
@pytest.mark.parametrize("hosts", ["", "example.com"])
def test_dashboard_shows_every_alarm(callback: str, predictions: str, hosts: str) -> None:
    body = dashboard(CallbackUrl=callback, PredictionsPerHourAlarm=predictions, AllowedCallbackHosts=hosts)
    (widget,) = [one for one in body["widgets"] if one["type"] == "alarm"]
    absent = {
        "CallbackDeadLetters": not callback,
        "ManyPredictions": predictions == "0",
        "JobCallbacksDelayed": not hosts,
        "JobCallbackDeadLetters": not hosts,
    }
    there = {f"arn:{name}" for name in ALARMS if not absent.get(name)}
    assert set(widget["properties"]["alarms"]) == there


def test_widgets_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in dashboard()["widgets"]:
        x, y, width, height = (widget[name] for name in ("x", "y", "width", "height"))
        assert x + width <= 24
        cells = {(column, row) for column in range(x, x + width) for row in range(y, y + height)}
        assert not taken & cells
        taken |= cells


def test_two_stacks_share_no_name() -> None:
    """Each explicit name contains the stack's name or id; CloudFormation names the other resources."""
    for name, resource in RESOURCES.items():
        for key, value in resource.get("Properties", {}).items():
            if key in {"DashboardName", "LogGroupName", "BucketName", "Name", "AlarmName", "TopicName"}:
                assert re.search(r"AWS::Stack(Name|Id)\b", json.dumps(value)), (name, key)


# ── time zones ──


def test_every_time_zone_is_accepted() -> None:
    parameters: Any = translate()["Parameters"]
    pattern = parameters["TimeZone"]["AllowedPattern"]
    assert not [zone for zone in zoneinfo.available_timezones() if not re.fullmatch(pattern, zone)]


@pytest.mark.parametrize("zone", ["", "+09:00", "Asia Seoul", "Asia/", "/Asia/Seoul", "../etc/passwd"])
def test_invalid_time_zone_name_is_refused_at_deployment(zone: str) -> None:
    with pytest.raises(TemplateError, match="parameter TimeZone"):
        load(overrides={"TimeZone": zone})

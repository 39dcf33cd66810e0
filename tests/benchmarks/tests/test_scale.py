"""The table of quotas: its arithmetic, and what it repeats from elsewhere."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from tests.benchmarks import _prices, cost, scale
from tests.environment import ROOT
from tests.localcloud import template


def quota(name: str) -> scale.Quota:
    (found,) = [one for one in scale.read().quota if one.name.startswith(name)]
    return found


def test_quota_allows_as_many_jobs_as_the_peak_leaves() -> None:
    quotas = scale.Quotas(
        peak=5, quota=(scale.Quota(name="n", a_second=10, a_job=2, why="w", source="s", then="t"),)
    )
    assert quotas.jobs_a_month(quotas.quota[0]) == pytest.approx(2_629_800)  # one a second


@pytest.mark.parametrize("allowed", [{}, {"a_second": 1, "a_month": 1}])
def test_quota_is_either_of_a_second_or_of_a_month(allowed: dict[str, float]) -> None:
    texts = dict.fromkeys(("name", "why", "source", "then"), "t")
    with pytest.raises(ValidationError, match="either a_second or a_month"):
        scale.Quota.model_validate({**texts, "a_job": 1, **allowed})


def test_step_of_a_price_ends_without_regard_to_the_peak() -> None:
    price = scale.Quota(name="n", a_month=100, a_job=2, why="w", source="s", then="t")
    assert scale.Quotas(peak=5, quota=(price,)).jobs_a_month(price) == pytest.approx(50)


def test_documented_table_is_that_of_the_quotas() -> None:
    assert scale.table() in (ROOT / "tests/benchmarks/README.md").read_text()


def test_quotas_of_the_template_are_those_of_the_template() -> None:
    template = (ROOT / "template.yaml").read_text()
    (rate,) = re.findall(r"DefaultRouteSettings: .*ThrottlingRateLimit: (\d+)", template)
    assert quota("API Gateway, requests").a_second == int(rate)
    (webhooks,) = re.findall(r"webhooks/replicate: {.*ThrottlingRateLimit: (\d+)", template)
    assert quota("API Gateway, webhooks").a_second == int(webhooks)
    (calls,) = re.findall(r"InvocationRateLimitPerSecond: (\d+)", template)
    assert quota("CallbackUrl").a_second == int(calls)


def test_concurrencies_are_those_of_the_template() -> None:
    parameters = template.load().parameters
    for name in ("GenerateConcurrency", "WatchdogConcurrency"):
        assert quota(name).a_second == int(parameters[name])
    assert quota("AnnounceConcurrency").a_second == 4 * int(parameters["AnnounceConcurrency"])
    parameter = r"^  GenerateConcurrency:\n(?:    .*\n)*?    MaxValue: (\d+)"
    (most,) = re.findall(parameter, template.TEMPLATE.read_text(), re.MULTILINE)
    assert quota("SQS event source").a_second == int(most)


def test_photo_holds_an_invocation_equally_long_everywhere() -> None:
    names = ("GenerateConcurrency", "SQS event source", "SQS, messages in flight on other days")
    assert len({quota(name).a_job for name in names}) == 1


def test_requests_of_a_job_are_those_of_the_budget() -> None:
    prices = _prices.file()
    calls = prices.requests["API Gateway request"].count - quota("Replicate").a_job  # without the webhooks
    assert quota("API Gateway, requests").a_job == calls + prices.assumptions.polls
    assert quota("API Gateway, webhooks").a_job == quota("Replicate").a_job
    assert quota("Replicate").a_job == prices.requests["Replicate POST"].count
    assert quota("S3").a_job == prices.requests["S3 PutObject"].count
    invocations = prices.requests["Lambda invocation"].count
    assert quota("CloudWatch Logs").a_job == invocations + prices.assumptions.polls
    assert quota("Price of API calls").a_job == (
        prices.requests["API Gateway request"].count + prices.assumptions.polls
    )


def test_write_units_are_the_most_of_any_job() -> None:
    assert quota("DynamoDB, write units of a new table").a_job == cost.most_write_units()


def test_dollars_of_the_log_are_those_of_the_prices() -> None:
    log = quota("Price of the log")
    gigabytes = [jobs * log.a_job / 1e9 for jobs in scale.SIZES]
    one, ten, hundred = (f"${_prices.usd(log_gb=size, log_gb_month=size):.0f}" for size in gigabytes)
    assert f"{one}, {ten} and {hundred} at 1, 10 and 100 million jobs" in log.why


def test_outage_keeps_a_photo_in_flight_until_its_deadline() -> None:
    assert quota("SQS, messages in flight while").a_job == int(
        template.load().parameters["GenerationDeadlineSeconds"]
    )

"""The table of quotas: its arithmetic, and what it repeats from elsewhere."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks import _prices, scale
from tests.environment import ROOT


def quota(name: str) -> scale.Quota:
    (found,) = [one for one in scale.read().quota if one.name.startswith(name)]
    return found


def test_quota_allows_as_many_jobs_as_the_peak_leaves() -> None:
    quotas = scale.Quotas(
        peak=5, quota=(scale.Quota(name="n", a_second=10, a_job=2, why="w", source="s", then="t"),)
    )
    assert quotas.jobs_a_month(quotas.quota[0]) == pytest.approx(2_629_800)  # one a second


def test_documented_table_is_that_of_the_quotas() -> None:
    assert scale.table() in (ROOT / "tests/benchmarks/README.md").read_text()


def test_quotas_of_the_template_are_those_of_the_template() -> None:
    template = (ROOT / "template.yaml").read_text()
    (rate,) = re.findall(r"DefaultRouteSettings: .*ThrottlingRateLimit: (\d+)", template)
    assert quota("API Gateway").a_second == int(rate)
    (calls,) = re.findall(r"InvocationRateLimitPerSecond: (\d+)", template)
    assert quota("CallbackUrl").a_second == int(calls)


def test_requests_of_a_job_are_those_of_the_budget() -> None:
    prices = _prices.file()
    calls = prices.requests["API Gateway request"].count - quota("Replicate").a_job  # without the webhooks
    assert quota("API Gateway").a_job == calls + prices.assumptions.polls
    assert quota("Replicate").a_job == prices.requests["Replicate POST"].count
    assert quota("S3").a_job == prices.requests["S3 PutObject"].count

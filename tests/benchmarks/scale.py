"""At how many jobs a month each quota bends, from quotas.toml. Nothing is run: this is arithmetic on paper.

A month has 30.4 days. The busiest second of it has `peak` times the mean. A price bends where its first step ends.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, PositiveFloat, model_validator

from tests.benchmarks._report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).with_name("quotas.toml")
MONTH = 365.25 / 12 * 86_400  # seconds
SIZES = (1e6, 10e6, 100e6)  # jobs a month


class Quota(BaseModel):
    """Something of which AWS or Replicate allows only so much, or asks another price for more."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    a_second: PositiveFloat | None = None
    a_month: PositiveFloat | None = None
    a_job: PositiveFloat
    why: str
    source: str
    then: str

    @model_validator(mode="after")
    def _of_one_time(self) -> Self:
        if (self.a_second is None) == (self.a_month is None):
            raise ValueError(f"{self.name} needs either a_second or a_month")
        return self


class Quotas(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    peak: PositiveFloat
    quota: tuple[Quota, ...]

    def jobs_a_month(self, quota: Quota) -> float:
        """Return how many jobs a month the quota allows, if they come in as the peak says."""
        a_month = quota.a_month or (quota.a_second or 0) * MONTH / self.peak
        return a_month / quota.a_job


def read() -> Quotas:
    return Quotas.model_validate(tomllib.loads(FILE.read_text()))


def measure() -> Iterator[Figure]:
    quotas = read()
    for quota in sorted(quotas.quota, key=quotas.jobs_a_month):
        yield Figure(quota.name, quotas.jobs_a_month(quota) / 1e6, "million jobs a month")


def table() -> str:
    """Return the table of README.md."""
    quotas = read()
    lines = [
        "| million jobs a month | 1, 10 and 100 million need, of what is allowed | what bends | why | what happens, and what to change |",
        "|--:|--:|---|---|---|",
    ]
    for quota in sorted(quotas.quota, key=quotas.jobs_a_month):
        jobs = quotas.jobs_a_month(quota)
        used = " · ".join(_short(size / jobs) for size in SIZES)
        why = f"[{quota.why}]({quota.source})"
        lines.append(f"| {_short(jobs / 1e6)} | {used} | {quota.name} | {why} | {quota.then} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    """Return the number with at least two digits."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"

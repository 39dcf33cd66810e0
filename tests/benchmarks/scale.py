"""At how many jobs a month each quota bends, from quotas.toml. Nothing is run: this is arithmetic on paper.

A month has 30.4 days. The busiest second of it has `peak` times the mean.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, PositiveFloat

from tests.benchmarks._report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).with_name("quotas.toml")
MONTH = 365.25 / 12 * 86_400  # seconds


class Quota(BaseModel):
    """Something of which AWS or Replicate allows only so much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    a_second: PositiveFloat
    a_job: PositiveFloat
    why: str
    source: str
    then: str

    @property
    def jobs_a_second(self) -> float:
        return self.a_second / self.a_job


class Quotas(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    peak: PositiveFloat
    quota: tuple[Quota, ...]

    def jobs_a_month(self, quota: Quota) -> float:
        """Return how many jobs a month the quota allows, if they come in as the peak says."""
        return quota.jobs_a_second * MONTH / self.peak


def read() -> Quotas:
    return Quotas.model_validate(tomllib.loads(FILE.read_text()))


def measure() -> Iterator[Figure]:
    quotas = read()
    for quota in sorted(quotas.quota, key=quotas.jobs_a_month):
        millions = quotas.jobs_a_month(quota) / 1e6
        yield Figure(
            f"{quota.name}: {quota.jobs_a_second:.1f} jobs a second", millions, "million jobs a month"
        )


def table() -> str:
    """Return the table of README.md."""
    quotas = read()
    lines = [
        "| million jobs a month | what bends | why | what happens, and what to change |",
        "|--:|---|---|---|",
    ]
    for quota in sorted(quotas.quota, key=quotas.jobs_a_month):
        millions = quotas.jobs_a_month(quota) / 1e6
        size = f"{millions:.1f}" if millions < 10 else f"{millions:.0f}"
        lines.append(f"| {size} | {quota.name} | [{quota.why}]({quota.source}) | {quota.then} |")
    return "\n".join(lines)

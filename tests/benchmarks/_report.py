"""The figures of benchmarks, each with a baseline from the same run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.environment import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class UnavailableError(Exception):
    """This machine lacks a program that a benchmark needs. The message says how to install it."""


@dataclass(frozen=True)
class Figure:
    """A measured figure.

    Args:
        name: What was measured.
        value: The value, in `unit`.
        unit: The unit of `value` and `baseline`.
        against: The name of the baseline; empty if there is none.
        baseline: The value of the baseline, from the same run because these machines are shared and noisy.
        at_most: The goal: the highest ratio of value and baseline, or the highest value without a baseline.
        at_least: The goal: the lowest such ratio or value.
        ratios: The ratios of value and baseline in each round, if both were measured in turn. Their median is the ratio.
    """

    name: str
    value: float
    unit: str
    against: str = ""
    baseline: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    ratios: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        if self.ratios:
            return statistics.median(self.ratios)
        return self.value / self.baseline if self.baseline else None

    @property
    def assessment(self) -> str:
        """Whether the goal is met, or by how much it is missed; empty without a goal."""
        found = self.value if self.ratio is None else self.ratio
        parts = []
        if self.at_most is not None:
            parts.append(_assess(f"≤ {self.at_most:g}", found, self.at_most))
        if self.at_least is not None:
            parts.append(_assess(f"≥ {self.at_least:g}", self.at_least, found))
        return ", ".join(parts)

    @property
    def is_missed(self) -> bool:
        """Whether there is a goal that is not met."""
        return "missed" in self.assessment


def _assess(goal: str, less: float, more: float) -> str:
    if less <= more:
        return f"{goal}: met"
    return f"{goal}: missed by {less / more - 1:.0%}" if more else f"{goal}: missed"


def percentile(values: Sequence[float], share: int) -> float:
    """Return the value that so many in a hundred do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def line(figure: Figure) -> str:
    """Return the figure as one line for the terminal. Half of the ratios of rounds lie between the two in brackets."""
    against = f"{figure.against} {_number(figure.baseline)}" if figure.baseline is not None else ""
    ratio = f"{figure.ratio:.2f} x" if figure.ratio is not None else ""
    if figure.ratios:
        ratio += f" ({percentile(figure.ratios, 25):.2f} to {percentile(figure.ratios, 75):.2f})"
    found = f"{_number(figure.value)} {figure.unit}"
    return f"{figure.name:52} {found:>16}  {against:38} {ratio:>9}  {figure.assessment}".rstrip()


def write(path: Path, found: Mapping[str, Iterable[Figure]]) -> None:
    """Write the figures of a run as JSON, by benchmark, with the machine and the commit."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    run = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": head.stdout.strip() or None,
        "machine": {
            "kind": platform.machine(),
            "cores": os.cpu_count(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "figures": {name: [asdict(figure) for figure in figures] for name, figures in found.items()},
    }
    path.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")


def compare(before: Path, after: Path) -> list[str]:
    """Return lines that compare the figures of two runs: their ratios if they have any, else their values."""
    old, new = _read(before), _read(after)
    lines = [f"{'':64} {before.name:>14} {after.name:>14}"]
    for key in sorted(old.keys() | new.keys()):
        one, other = old.get(key), new.get(key)
        lines.append(
            f"{': '.join(key):64} {_shown(one):>14} {_shown(other):>14}  {_change(one, other)}".rstrip()
        )
    return lines


def _read(path: Path) -> dict[tuple[str, str], Figure]:
    run: dict[str, Any] = json.loads(path.read_text())
    return {
        (benchmark, figure["name"]): Figure(**figure)
        for benchmark, figures in run["figures"].items()
        for figure in figures
    }


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    return f"{figure.ratio:.2f} x" if figure.ratio is not None else f"{_number(figure.value)} {figure.unit}"


def _change(one: Figure | None, other: Figure | None) -> str:
    if one is None or other is None:
        return ""
    was, now = (figure.value if figure.ratio is None else figure.ratio for figure in (one, other))
    return f"{now / was - 1:+.0%}" if was else ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # more digits do not matter

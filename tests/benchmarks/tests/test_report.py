"""Tests of goals, and of the comparison of two runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks._report import Figure, compare, line, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("figure", "assessment"),
    [
        (Figure("a", 13.0, "s", "b", 10.0, at_most=1.3), "≤ 1.3: met"),
        (Figure("a", 26.0, "s", "b", 10.0, at_most=1.3), "≤ 1.3: missed by 100%"),
        (Figure("a", 20.0, "jobs", "b", 10.0, at_least=2), "≥ 2: met"),
        (Figure("a", 10.0, "jobs", "b", 10.0, at_least=2), "≥ 2: missed by 100%"),
        (Figure("a", 6, "requests", at_most=6), "≤ 6: met"),
        (Figure("a", 7, "requests", at_most=6), "≤ 6: missed by 17%"),
        (Figure("a", 0, "jobs", "b", 10, at_least=2), "≥ 2: missed"),
        (Figure("a", 0, "jobs", "b", 3, at_most=0), "≤ 0: met"),
        (Figure("a", 1, "jobs", "b", 0, at_most=0), "≤ 0: missed"),
        (Figure("a", 2, "paid for", "b", 3, at_most=1, at_least=1), "≤ 1: met, ≥ 1: missed by 50%"),
        (Figure("a", 1, "s"), ""),
    ],
)
def test_figure_shows_whether_and_by_how_much_it_missed(figure: Figure, assessment: str) -> None:
    assert figure.assessment == assessment
    assert figure.is_missed == ("missed" in assessment)
    assert line(figure).endswith(assessment)


def test_ratio_of_rounds_is_their_median_with_its_quarters() -> None:
    figure = Figure("a", 30.0, "ms", "b", 20.0, at_most=1.1, ratios=(9.0, 1.2, 1.0, 1.3, 1.0))
    assert figure.ratio == 1.2
    assert line(figure).endswith("1.20 x (1.00 to 1.30)  ≤ 1.1: missed by 9%")


def test_two_runs_are_compared_by_their_ratios(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    write(before, {"copy": [Figure("a job", 20, "ms", "a copy", 10), Figure("gone", 1, "s")]})
    write(after, {"copy": [Figure("a job", 60, "ms", "a copy", 20), Figure("requests", 6, "")]})
    assert json.loads(after.read_text())["machine"]["cores"]
    head, job, gone, requests = (words.split() for words in compare(before, after))
    assert head == ["before.json", "after.json"]
    assert job == ["copy:", "a", "job", "2.00", "x", "3.00", "x", "+50%"]
    assert gone == ["copy:", "gone", "1", "s", "-"]
    assert requests == ["copy:", "requests", "-", "6"]

"""Tests of what `--strict` refuses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import __main__, scale
from tests.benchmarks._report import Figure, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSED, MET = Figure("requests", 7, "", at_most=6), Figure("jobs", 7, "", at_least=6)


@pytest.fixture(autouse=True)
def only_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tests.benchmarks", "--strict", "scale"])


def test_met_goals_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "measure", lambda: iter([MET]))
    __main__.main()


def test_missed_goal_fails_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "measure", lambda: iter([MET, MISSED]))
    with pytest.raises(SystemExit, match=r"^scale missed requests$"):
        __main__.main()


def test_skipped_benchmark_fails_and_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def skipped() -> Iterator[Figure]:
        yield MET
        raise UnavailableError("redis-server is missing")

    monkeypatch.setattr(scale, "measure", skipped)
    with pytest.raises(SystemExit, match=r"^scale was skipped: redis-server is missing$"):
        __main__.main()

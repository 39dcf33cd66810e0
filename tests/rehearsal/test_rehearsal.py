"""Tests of the rehearsal's steps: each passes, in the order of `python3 -m tests.rehearsal`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.rehearsal import steps

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are built for Lambda's Linux"),
    pytest.mark.timeout(900),  # the first test runs all steps
]


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, str]]:
    """The results of the steps, by name. An error names the step that failed."""
    found: dict[str, str] = {}

    def say(name: str, _: float, result: str) -> None:
        found[name] = result

    with (
        TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder,
        steps.rehearsing(Path(folder), steps.WHOLE, say),
    ):
        yield found


@pytest.mark.parametrize("step", steps.WHOLE)
def test_step_succeeds(results: dict[str, str], step: str) -> None:
    assert results[step]

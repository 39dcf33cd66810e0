"""Tests of how CPU time is counted by module."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tests.benchmarks import profile

if TYPE_CHECKING:
    from types import FrameType


def library() -> FrameType:
    return sys._getframe()


def called_by(file: str) -> str:
    """Return the module that counts while code in `file` calls this test, as it calls a library."""
    names: dict[str, Any] = {}
    exec(compile("def call(library): return library()", file, "exec"), names)
    return profile.module_of(names["call"](library))


def test_library_counts_for_the_module_that_called_it() -> None:
    assert called_by(f"{profile.OWN[0]}aws/table.py") == "aws/table.py"
    assert called_by(f"{profile.OWN[1]}api/api.py") == "api/api.py"


def test_time_outside_our_modules_is_that_of_powertools() -> None:
    assert called_by("/opt/python/library.py") == profile.AROUND

"""The names of tests are short enough to read at a glance."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.environment import ROOT

MOST_WORDS = 10
FILES = sorted((ROOT / "tests").rglob("test_*.py"))


def names_in(source: str) -> list[str]:
    """Return the names of the tests in a module, methods included."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def too_long(source: str) -> list[str]:
    return [name for name in names_in(source) if len(name.removeprefix("test_").split("_")) > MOST_WORDS]


def test_tests_of_every_folder_are_found() -> None:
    found = {file.relative_to(ROOT / "tests").parts[0] for file in FILES if names_in(file.read_text())}
    assert found >= {"benchmarks", "e2e", "integration", "localcloud", "repository", "simulation", "unit"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT / "tests")))
def test_names_have_at_most_ten_words(file: Path) -> None:
    assert too_long(file.read_text()) == []


def test_eleventh_word_is_found() -> None:
    long = "test_" + "_".join(["word"] * (MOST_WORDS + 1))
    assert too_long(f"def {long}(): ...\nasync def {long}s(): ...") == [long, f"{long}s"]
    assert too_long(f"def {long.removesuffix('_word')}(): ...") == []

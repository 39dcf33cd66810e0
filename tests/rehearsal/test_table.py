"""TABLE.md is what the command writes, but for numbers that other work changes. Its reasons name cases that differ."""

from __future__ import annotations

import re

import pytest

from tests.rehearsal import evidence, table
from tests.rehearsal.differences import HTTP_API
from tests.rehearsal.table import PARTS, Part
from tests.support.readme import links

DIFFERENT = {case.name for case in evidence.CHECKS if case.ministack is not None} | HTTP_API.keys()


def without_numbers(text: str) -> str:
    """Leave out the numbers of decisions and of lines, which changes elsewhere change."""
    head, heading, rest = text.partition("## IAM")
    return head + heading + re.sub(r"\d+", "", rest)


def test_table_is_the_one_that_the_command_writes() -> None:
    assert without_numbers(table.FILE.read_text()) == without_numbers(table.rendered()), (
        "Write it again: .venv/bin/python -m tests.rehearsal.table"
    )


def test_links_of_the_table_resolve() -> None:
    assert [str(path) for path, _ in links(table.FILE) if not path.exists()] == []


def test_every_module_of_the_local_cloud_is_in_one_part() -> None:
    names = [name for part in PARTS for name in part.modules]
    assert sorted(names) == sorted(path.stem for path in table.LOCAL.glob("*.py"))


@pytest.mark.parametrize("part", PARTS, ids=[part.what for part in PARTS])
def test_reasons_are_cases_that_differ_from_aws(part: Part) -> None:
    assert set(part.cases) <= DIFFERENT


def test_local_cloud_does_as_aws_in_each_reason() -> None:
    assert table.OURS.keys() == {case.name for case in evidence.CHECKS if case.ministack is not None}
    kept = {name for name, test in table.OURS.items() if test} | HTTP_API.keys()  # test_documented.py
    assert {name for part in PARTS for name in part.cases} <= kept


@pytest.mark.parametrize(("file", "test"), sorted({test for test in table.OURS.values() if test}))
def test_named_test_exists(file: str, test: str) -> None:
    assert f"def {test}(" in (table.FILE.parent / f"{file}.py").read_text()

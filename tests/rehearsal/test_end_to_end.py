"""The end-to-end tests on MiniStack fail where the list says, and nowhere else."""

from __future__ import annotations

import sys

import pytest

from tests.rehearsal import end_to_end


@pytest.mark.skipif(sys.platform != "linux", reason="the layers are built for Lambda's Linux")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", end_to_end.QUICK)
def test_file_fails_only_where_the_list_says(name: str) -> None:
    assert end_to_end.differences(name) == []


def test_every_file_is_listed_once() -> None:
    names = {file.stem for file in end_to_end.FOLDER.glob("test_*.py")}
    assert end_to_end.RUN.keys() | end_to_end.NOT_RUN.keys() == names
    assert not end_to_end.RUN.keys() & end_to_end.NOT_RUN.keys()


def test_listed_failures_are_tests_of_their_file() -> None:
    for name, failures in end_to_end.RUN.items():
        text = (end_to_end.FOLDER / f"{name}.py").read_text()
        assert [test for test in failures if f"def {test}(" not in text] == []

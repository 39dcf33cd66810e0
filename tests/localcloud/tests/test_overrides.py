"""Tests of parameter overrides without SAM CLI. tests/sam/tests/test_sam_cli.py compares with SAM CLI."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.localcloud.overrides import OverrideError, quoted, read


def test_words_and_strings_are_read() -> None:
    words = (
        "A=1",
        'C="3 4" D=""',
        "ParameterKey=E,ParameterValue=5",
        "F=https://x/?a=b&c",
        'G="{\\"a\\": 1}"',
    )
    assert read(words) == {
        "A": "1",
        "C": "3 4",
        "D": "",
        "E": "5",
        "F": "https://x/?a=b&c",
        "G": '{"a": 1}',
    }
    assert read(" ".join(words[:2])) == {"A": "1", "C": "3 4", "D": ""}


@pytest.mark.parametrize(
    "word",
    [
        "A=two words",
        'A={"image": "photo"}',
        "A=",
        "A= x",
        "B=1 A=two words",
        "A='a'b",
        "A=ends\\",
        "ParameterKey=A,ParameterValue=two words",
    ],
)
def test_cut_value_is_refused_with_its_quoting(word: str) -> None:
    with pytest.raises(OverrideError, match="Write ") as refused:
        read((word,))
    advice = str(refused.value).split("Write ", 1)[1].removesuffix(", with these quotes")
    (name, value) = next(iter(read(tuple(shlex.split(advice))).items()))
    assert name == "A"
    assert word.endswith(value)


@pytest.mark.parametrize("word", ["nonsense", "", "-A=1", "x A=1", "키=1"])
def test_word_without_a_pair_is_refused(word: str) -> None:
    with pytest.raises(OverrideError, match="Name=Value"):
        read(("B=1", word))


def test_value_that_no_quoting_keeps_is_refused() -> None:
    value = "a\"b'c\\"
    assert quoted("A", value) is None
    with pytest.raises(OverrideError, match=r"samconfig\.toml"):
        read((f"A={value}",))
    assert read({"A": value}) == {"A": value}


def test_tables_and_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text('B = ["x", " y "]\nC = true\n"$include" = "file://last.toml"\n')
    (tmp_path / "last.toml").write_text('D = "two words"\n')
    read_back = read((f"file://{tmp_path}/more.toml", "A=1"))
    assert read_back == {"A": "1", "B": "x,y", "C": "True", "D": "two words"}


@pytest.mark.parametrize(
    ("text", "complaint"), [('"$include" = "file://it.toml"', "includes itself"), ("A = ", "cannot be read")]
)
def test_unreadable_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "it.toml").write_text(text)
    with pytest.raises(OverrideError, match=complaint):
        read((f"file://{tmp_path}/it.toml",))
    with pytest.raises(OverrideError, match=r"\.toml files only"):
        read((f"file://{tmp_path}/it.yaml",))

"""Every input that the fuzzer has kept, or that it found a defect with, is handled as it must be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import api
import webhook
from tests.fuzz.__main__ import CORPUS
from tests.fuzz.__main__ import NAMES as CHOICES
from tests.fuzz.reader import Reader
from tests.fuzz.targets import NAMES, FindingError, seeds, target


@pytest.mark.parametrize("name", NAMES)
def test_kept_inputs_break_no_promise(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert len(files) >= 10
    with target(name) as take:
        for file in files:
            try:
                take(file.read_bytes())
            except BaseException as error:
                error.add_note(str(file))
                raise


def test_corpus_is_small_and_of_known_targets() -> None:
    assert set(NAMES) == set(CHOICES) == {folder.name for folder in CORPUS.iterdir()}
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_seeds_break_no_promise(name: str) -> None:
    with target(name) as take:
        for seed in seeds(name)[:20]:
            take(seed)


@pytest.mark.parametrize(
    ("name", "function", "answer"),
    [
        ("api", api, {"statusCode": 500, "body": "{}"}),
        ("webhook", webhook, {"statusCode": 200, "body": "{}"}),  # also for what is not signed
    ],
)
def test_broken_promise_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, function: object, answer: dict[str, object]
) -> None:
    monkeypatch.setattr(function, "handler", lambda *_: answer)
    found = 0
    with target(name) as take:
        for seed in seeds(name):
            try:
                take(seed)
            except FindingError:
                found += 1
    assert found


def test_reader_makes_json_of_any_bytes(tmp_path: Path) -> None:
    for length in range(40):
        reader = Reader(bytes(range(200, 200 + length)))
        json.loads(json.dumps(reader.changed({"a": ["b", {"c": 1}], "d": "text"})))
    empty = Reader(b"")
    assert (empty.byte(), empty.text(), empty.json(), empty.rest()) == (0, "", None, b"")

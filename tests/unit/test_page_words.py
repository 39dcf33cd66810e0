"""The page's words: each language is one file, and none of them lacks a word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.environment import ROOT

STATIC = ROOT / "functions/page/static"
PLURALS = {"one", "other"}
# Keys that the page puts together, each with the values that complete it.
COMPOSED = {
    "failures.${code}": ["unavailable"],
    "styles.${id}.name": [
        style["id"] for style in json.loads((ROOT / "layers/triptych/triptych/styles.json").read_text())
    ],
    'styles.${id || "none"}.name': ["none"],
    'styles.${id || "none"}.description': ["none"],
    "card.${job.status}": ["AWAITING_UPLOAD", "GENERATING", "PARTIAL", "FAILED", "CANCELED", "EXPIRED"],
}


def words_of(language: str) -> dict[str, Any]:
    return dict(flat(json.loads((STATIC / f"{language}.json").read_text())))


def flat(words: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in words.items():
        if isinstance(value, dict) and not value.keys() <= PLURALS:
            yield from flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def placeholders(words: Any) -> set[str]:
    return set(re.findall(r"\{(\w+)", json.dumps(words)))


def used() -> set[str]:
    """Return the keys that the HTML and the modules name."""
    index = (STATIC / "index.html").read_text()
    keys = set(re.findall(r'data-say(?:-\w+)?="([^"]+)"', index))
    for file in STATIC.glob("*.js"):
        code = file.read_text()
        for call in re.findall(r"\b(?:t|hasWords)\(((?:[^()]|\([^()]*\))*)\)", code):
            keys |= set(re.findall(r'"([a-z]\w*\.[\w.-]+)"', call))
            keys |= set(re.findall(r'^"([a-z]\w*)"', call))
            for composed in re.findall(r"^`([^`]+)`", call):
                stem = re.sub(r"\$\{[^}]+\}", "{}", composed)
                keys |= {stem.replace("{}", value) for value in COMPOSED[composed]}
        keys |= set(re.findall(r'"(password\.\w+|picture\.\w+_one|title\.\w+)"', code))
    return keys


@pytest.mark.parametrize("language", ["en", "ko"])
def test_no_word_is_missing(language: str) -> None:
    assert sorted(used() - words_of(language).keys()) == []


def test_every_word_is_used() -> None:
    mine = {key for key in words_of("en") if not key.startswith(("failures.", "styles.", "earlier."))}
    assert sorted(mine - used() - {"numbers"}) == []


def test_languages_have_the_same_words() -> None:
    english, korean = words_of("en"), words_of("ko")
    assert list(english) == list(korean)
    for key, words in english.items():
        assert placeholders(words) == placeholders(korean[key]), key
    assert len(english["numbers"]) == len(korean["numbers"]) == 11


def test_korean_is_polite_throughout() -> None:
    """Whole sentences end in the same polite form, as of one product."""
    texts = [
        text
        for words in words_of("ko").values()
        for text in (words.values() if isinstance(words, dict) else [words])
    ]
    sentences = [
        one for text in texts if isinstance(text, str) for one in re.findall(r"[^.?!]*[가-힣][.?]", text)
    ]
    assert len(sentences) > 60
    wrong = [
        one
        for one in sentences
        if not re.search(r"(요|으로|장으로|빛|물감|음영으로|점무늬|화면|밤)[.?]$", one)
    ]
    assert wrong == []


def test_built_in_styles_have_the_names_of_the_catalogue() -> None:
    for style in json.loads((ROOT / "layers/triptych/triptych/styles.json").read_text()):
        words = {key: words_of("en")[f"styles.{style['id']}.{key}"] for key in ("name", "description")}
        assert words == {key: style[key] for key in words}

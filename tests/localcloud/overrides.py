r"""Parameter overrides, read as `sam deploy` reads them.

SAM CLI finds `Name=Value` pairs in each word with a regular expression, and silently drops text between two pairs.
With SAM CLI `DefaultPrompt=A watercolour` sets the prompt "A", and a JSON value ends at its first quote. This module
finds the same pairs. If SAM CLI would drop text, it raises an error that shows how to quote the word.

The rules are those of `CfnParameterOverridesType` in samcli/cli/types.py, SAM CLI 1.170:

* A value is bare, or in double or single quotes. A bare value ends at a space, at a `"` or at a backslash at the end of
  the word.
* The quotes around a value are removed. Then `\ `, `\"` and `\'` lose their backslash.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path

# The arguments of --parameter-overrides, or the value of parameter_overrides in samconfig.toml.
type Given = str | int | float | date | datetime | time | Sequence[Given] | Mapping[str, Given] | None

_KEY = r"""([A-Za-z0-9"']+)"""
# SAM's own pattern matches the same, but its nested repetitions take exponential time on an unclosed quote.
_VALUE = r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|[^ "\\])+)"""
_FORMS = (re.compile(rf"ParameterKey={_KEY},ParameterValue={_VALUE}"), re.compile(rf" {_KEY}={_VALUE}"))
_QUOTES = ('"', "'")
_FILE = "file://"


class OverrideError(Exception):
    """SAM CLI would refuse the overrides or drop a part of them. The message shows how to write them."""


def read(given: Given) -> dict[str, str]:
    """Read the parameters as `sam deploy` does, from the words of a command line or a value in samconfig.toml.

    Raises:
        OverrideError: SAM CLI would refuse the overrides or drop a part of them.
    """
    if given in ("", ("",)):
        return {}
    return {_unquoted(name): _unquoted(value) for name, value in _pairs(given, Path(), ()).items()}


def quoted(name: str, value: str) -> str | None:
    """Write `Name=Value` so that SAM CLI reads this value; return None if that is impossible."""
    escaped = value.replace('"', '\\"')
    kept = value.replace('\\"', '\\\\"')
    for written in (value, f'"{value}"', f'"{escaped}"', f"'{value}'", f"'{kept}'"):
        pair = f"{name}={written}"
        match _found(pair):
            case [one] if one.rest == "" and (one.name, _unquoted(one.value)) == (name, value):
                return pair
    return None


def _pairs(given: Given, folder: Path, files: tuple[Path, ...]) -> dict[str, str]:
    """Return the pairs, still quoted. The last pair of a name counts."""
    match given:
        case None:
            return {}
        case str() if given.startswith(_FILE):
            return _pairs_of_file(folder / given.removeprefix(_FILE), files)
        case str():
            return _pairs_of_word(given)
        case Mapping():
            return _pairs_of_table(given, folder, files)
        case Sequence():
            found: dict[str, str] = {}
            for one in given:
                found |= _pairs(one, folder, files)
            return found
        case _:
            raise OverrideError(f"a parameter override must be Name=Value, not {given!r}")


def _pairs_of_table(table: Mapping[str, Given], folder: Path, files: tuple[Path, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in table.items():
        match value:
            case None:
                found[name] = ""
            case _ if name == "$include":
                found |= _pairs(value, folder, files)
            case str():
                found[name] = value
            case Sequence():
                found[name] = ",".join(str(one).strip() for one in value if one not in (None, ""))
            case _:
                found[name] = str(value)  # SAM CLI also writes a boolean as True, not true
    return found


def _pairs_of_file(path: Path, files: tuple[Path, ...]) -> dict[str, str]:
    path = path.resolve()
    if path.suffix != ".toml":
        raise OverrideError(f"{path.name}: the local cloud reads parameters from .toml files only")
    if path in files:
        raise OverrideError(f"{path.name} includes itself")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OverrideError(f"{path.name} cannot be read: {error}") from error
    return _pairs(table, path.parent, (*files, path))


@dataclass(frozen=True)
class _Pair:
    name: str
    value: str
    rest: str  # the text after it that SAM CLI drops


def _found(word: str) -> list[_Pair]:
    """Return the pairs that SAM CLI finds in a word. A first pair without a name holds a dropped beginning."""
    text = f" {word.strip()}"
    found = next(filter(None, (list(form.finditer(text)) for form in _FORMS)), [])
    ends = [*(one.start() for one in found[1:]), len(text)]
    pairs = [
        _Pair(one[1], one[2], text[one.end() : end].rstrip()) for one, end in zip(found, ends, strict=False)
    ]
    dropped = text[: found[0].start()].strip() if found else ""
    return [_Pair("", "", dropped), *pairs] if dropped else pairs


def _pairs_of_word(word: str) -> dict[str, str]:
    pairs = _found(word)
    for one in pairs or [_unread(word)]:
        if one.rest or not one.value:
            raise OverrideError(_advice(one, word))
    return {one.name: one.value for one in pairs}


def _unread(word: str) -> _Pair:
    """Return a pair for a word in which SAM CLI finds none."""
    name, separator, value = word.strip().partition("=")
    return _Pair(name, "", value) if separator and name.isalnum() and name.isascii() else _Pair("", "", word)


def _advice(pair: _Pair, word: str) -> str:
    """Return how to write a pair that SAM CLI would not read completely."""
    if not pair.name:
        return f"a parameter override must be Name=Value, not {word!r}"
    value = pair.value + pair.rest
    complaint = f"sam deploy would not read all of {pair.name}={value}"
    written = quoted(pair.name, value)
    if written is None:
        return f"{complaint}. Write the value into a table of parameter_overrides in samconfig.toml"
    return f"{complaint}. Write {shlex.quote(written)}, with these quotes"


def _unquoted(text: str) -> str:
    if text and text[0] == text[-1] and text[0] in _QUOTES:
        text = text[1:-1]
    return text.replace("\\ ", " ").replace('\\"', '"').replace("\\'", "'")

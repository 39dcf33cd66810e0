"""What the README shows: its fenced blocks and its code in lines."""

from __future__ import annotations

import re

from tests.environment import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def spans() -> list[str]:
    """What stands between backquotes outside of the fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL))


def rows(heading: str) -> dict[str, str]:
    """The first table under a heading: its first column's code, and the rest of the row."""
    section = README.split(f" {heading}\n", 1)[1].split("\n#", 1)[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, _, rest = line[2:].partition(" | ")
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), rest)
    return found

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

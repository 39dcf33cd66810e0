"""The project's documents: their sections, tables, fenced blocks, inline code and links."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.environment import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# The order in which a reader pastes their commands.
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / folder / "README.md" for folder in ("functions", "layers", "tests")),
    *sorted((ROOT / "tests").glob("*/**/README.md")),
    *(ROOT / ".github" / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY")),
]
README = DOCUMENTS[0].read_text()
_TEXTS = [document.read_text() for document in DOCUMENTS]


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return [
        block
        for text in _TEXTS
        for block in re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def spans() -> list[str]:
    """Return the inline code outside of fenced blocks."""
    return [span for text in _TEXTS for span in re.findall(r"`([^`\n]+)`", _FENCED.sub("", text))]


def section(heading: str) -> str:
    """Return the text below the only heading of this name, up to the next heading."""
    pattern = rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)"
    (found,) = [match for text in _TEXTS for match in re.findall(pattern, text, re.MULTILINE | re.DOTALL)]
    return str(found)


def rows(heading: str) -> dict[str, str]:
    """Return the table of a section: the code in the first column → the rest of the row."""
    found: dict[str, str] = {}
    for line in section(heading).splitlines():
        if line.startswith("| `"):
            first, _, rest = line[2:].partition(" | ")
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), rest)
    return found


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor (or "") of each relative link and image of a document."""
    for link in re.findall(r"\]\(([^)\s]+)\)", _FENCED.sub("", document.read_text())):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            yield (document.parent / path).resolve() if path else document, anchor


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", _FENCED.sub("", document.read_text()), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(
            " ", "-"
        )
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return set(found)

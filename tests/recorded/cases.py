"""AWS's recorded answers, as README.md describes them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """A request or a sequence of requests, and what AWS answered."""

    file: str
    name: str
    recorded: str  # date
    test: str  # the test that recorded it, in the source's folder tests/aws/services
    content: dict[str, Any]

    def __str__(self) -> str:
        return self.name


def load(file: str) -> tuple[Case, ...]:
    """Return the cases of a file of this folder, such as "sqs"."""
    cases = json.loads((FOLDER / f"{file}.json").read_text())["cases"]
    return tuple(Case(file, case.pop("name"), case.pop("recorded"), case.pop("test"), case) for case in cases)


def files() -> set[str]:
    """Return the names of all files of cases."""
    return {path.stem for path in FOLDER.glob("*.json")}


def changed() -> set[str]:
    """Return the names of files whose content is not the one of SHA256SUMS."""
    listed = set((FOLDER / "SHA256SUMS").read_text().splitlines())
    found = {
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in FOLDER.glob("*.json")
    }
    return {line.split()[1] for line in listed ^ found}

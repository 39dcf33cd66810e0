"""Which lines of the layer each test runs. It is recorded once for each state of a test file and of the product."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.environment import fingerprint
from tests.mutation.mutants import Mutant
from tests.mutation.workshop import Workshop, taken

FOLDERS = ("tests/unit", "tests/integration", "tests/simulation/tests")
# These judge time, the environment, or what the mutated modules do not do. The crash plans follow for survivors.
LEFT_OUT = {
    "test_cold_start.py",
    "test_crash.py",
    "test_imports.py",
    "test_photo_fuzz.py",
    "test_trim.py",
    "test_warm_start.py",
}
RECORD_SECONDS = 900.0
DEPENDS_ON = (
    "layers",
    "functions",
    "tests/support",
    "tests/simulation",
)  # what decides whether a test passes


@dataclass(frozen=True, slots=True)
class Recorded:
    """A test, and the lines that it runs."""

    name: str  # as pytest names it
    seconds: float
    lines: dict[str, frozenset[int]]  # by module of the layer

    @property
    def file(self) -> str:
        return self.name.partition("::")[0]

    def can_notice(self, mutant: Mutant) -> bool:
        """Return whether the test runs the mutant's lines, or any of its module if the mutant lies in no function."""
        run = self.lines.get(mutant.module, frozenset())
        first, last = mutant.lines
        return any(first <= line <= last for line in run) if mutant.is_run else bool(run)


def files_to_record(root: Path) -> list[Path]:
    """Return the files of quick tests that import the layer or a function."""
    functions = {path.name for path in (root / "functions").iterdir() if path.is_dir()}
    words = ("triptych", *(f"import {name}\n" for name in functions))
    files = [file for folder in FOLDERS for file in sorted((root / folder).glob("test_*.py"))]
    return [
        file
        for file in files
        if file.name not in LEFT_OUT and any(word in file.read_text() for word in words)
    ]


def recorded(root: Path, cache: Path, shops: SimpleQueue[Workshop]) -> list[Recorded]:
    """Return all quick tests that pass, and record those that are not in `cache` yet, as many files at once as shops."""
    product = [file for folder in DEPENDS_ON for file in sorted((root / folder).rglob("*.py"))]
    product += sorted(root.glob("tests/**/conftest.py"))
    cache.mkdir(parents=True, exist_ok=True)

    def tests_of(file: Path) -> dict[str, dict[str, Any]]:
        name = str(file.relative_to(root))
        stem = name.removesuffix(".py").replace("/", ".")  # two folders may have a file of one name
        kept = cache / f"{stem}-{fingerprint(file, *product)}.json"
        if not kept.exists():
            for old in cache.glob(f"{stem}-*.json"):
                old.unlink()
            print(f"recording {name} …", flush=True)  # noqa: T201  # a command prints
            with taken(shops) as shop:
                kept.write_text(json.dumps(shop.record(name, seconds=RECORD_SECONDS)))
        return dict(json.loads(kept.read_text()))

    with ThreadPoolExecutor(shops.qsize()) as pool:
        each = list(pool.map(tests_of, files_to_record(root)))
    return [_test(name, one) for tests in each for name, one in tests.items() if one["passed"]]


def _test(name: str, one: dict[str, Any]) -> Recorded:
    return Recorded(
        name, one["seconds"], {module: frozenset(lines) for module, lines in one["lines"].items()}
    )

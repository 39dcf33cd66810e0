"""The distinct decisions on requests of the end-to-end tests. `python3 -m tests.iam` records them again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.environment import ROOT
from tests.localcloud.decisions import DECISIONS, RECORD, Decision

FILE = Path(__file__).with_name("decisions.json")
TESTS = sorted((ROOT / "tests/e2e").glob("test_*.py"))
RUNS = 2  # of a file whose tests fail, as in .ci/run


def load() -> tuple[Decision, ...]:
    return DECISIONS.validate_json(FILE.read_bytes())


def read(folder: Path) -> set[Decision]:
    """Return the decisions that local clouds wrote to a folder."""
    return {decision for file in folder.iterdir() for decision in DECISIONS.validate_json(file.read_bytes())}


def unknown(folder: Path) -> list[Decision]:
    """Return the decisions that local clouds wrote to a folder and that FILE does not hold."""
    return sorted(read(folder) - set(load()))


def record() -> int:
    """Run the end-to-end tests, each file by itself, and write every distinct decision to FILE.

    Returns:
        0, or 1 if the tests of a file failed. Then FILE stays as it was.
    """
    found: set[Decision] = set()
    failed: list[str] = []
    for test in TESTS:
        decisions = _decisions_of(test)
        if decisions is None:
            failed.append(test.name)
            continue
        sys.stderr.write(f"{test.name}: {len(decisions)} decisions, {len(decisions - found)} of them new\n")
        found |= decisions
    if failed:
        sys.stderr.write(f"Nothing was recorded. These tests failed: {', '.join(failed)}\n")
        return 1
    before = set(load())
    lines = [json.dumps(DECISIONS.dump_python((one,), mode="json")[0]) for one in sorted(found)]
    FILE.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n")
    sys.stderr.write(
        f"{len(found)} decisions recorded: {len(found - before)} new, {len(before - found)} gone\n"
    )
    return 0


def _decisions_of(test: Path) -> set[Decision] | None:
    """Run one file of tests; return its decisions, or None if it failed in each run."""
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(prefix="decisions-") as folder:
            command = [sys.executable, "-m", "pytest", "-q", str(test)]
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, RECORD: folder}, stdout=sys.stderr, check=False
            )
            if done.returncode == 0:
                return read(Path(folder))
    return None

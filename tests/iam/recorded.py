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
TESTS = ("tests/e2e", "--ignore", "tests/e2e/test_readme_commands.py")


def load() -> tuple[Decision, ...]:
    return DECISIONS.validate_json(FILE.read_bytes())


def record() -> int:
    """Run all end-to-end tests, and write every distinct decision to FILE; return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="decisions-") as folder:
        command = [sys.executable, "-m", "pytest", *TESTS]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, RECORD: folder}, check=False)
        files = [DECISIONS.validate_json(file.read_bytes()) for file in Path(folder).iterdir()]
    if done.returncode == 0:
        found = sorted({decision for file in files for decision in file})
        lines = [json.dumps(DECISIONS.dump_python((one,), mode="json")[0]) for one in found]
        FILE.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n")
    return done.returncode

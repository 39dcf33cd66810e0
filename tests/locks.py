"""The locks of the dependencies. `python3 -m tests.locks` compiles them again from pyproject.toml.

No lock holds a download address, so that each installation can choose its package index.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.environment import ROOT, uv

RUN_TIME = Path("layers/dependencies/requirements.txt")
IMAGING = Path("layers/imaging/requirements.txt")
# lock → its source, as arguments of `uv pip compile`
LOCKS: dict[Path, tuple[str, ...]] = {
    RUN_TIME: ("pyproject.toml",),
    IMAGING: ("--group", "imaging", "--constraints", str(RUN_TIME)),
    Path("tests/requirements.txt"): (
        *("--group", "dev", "--constraints", str(RUN_TIME), "--constraints", str(IMAGING)),
    ),
    Path("tests/sam/requirements.txt"): ("--group", "sam"),
    Path("tests/benchmarks/celery_baseline/requirements.txt"): ("--group", "celery"),
    Path("tests/checkov/requirements.txt"): ("--group", "checkov"),
    Path("tests/rehearsal/requirements.txt"): ("--group", "rehearsal"),
}


def compile_lock(lock: Path, output: Path, *options: str) -> None:
    """Compile `lock` (a key of LOCKS) into `output`. Pins in `output` remain if they still fit."""
    command = [
        uv(),
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        "3.13",
        "--generate-hashes",
    ]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--no-header", *options]
    subprocess.run([*command, *LOCKS[lock], "--output-file", str(output)], cwd=ROOT, check=True)


if __name__ == "__main__":
    for each in LOCKS:
        compile_lock(each, ROOT / each, *sys.argv[1:])

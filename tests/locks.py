"""The locks of the dependencies. `python3 -m tests.locks` compiles them again from pyproject.toml.

No lock holds a download address, so that each installation can choose its package index.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tests.environment import ROOT, uv

if TYPE_CHECKING:
    from collections.abc import Sequence

COOLDOWN = timedelta(days=7)  # a bad release is often withdrawn within a week
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
    Path("tests/uv/requirements.txt"): ("--group", "uv"),
    Path("tests/fuzz/requirements.txt"): ("--group", "fuzz"),
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


def options_of(arguments: Sequence[str], now: datetime) -> list[str]:
    """Return the options for `uv pip compile`. An upgrade takes no release of the last days."""
    if "--upgrade" not in arguments:
        return [*arguments]
    return [*arguments, "--exclude-newer", f"{now - COOLDOWN:%Y-%m-%dT%H:%M:%SZ}"]


if __name__ == "__main__":
    for each in LOCKS:
        compile_lock(each, ROOT / each, *options_of(sys.argv[1:], datetime.now(UTC)))

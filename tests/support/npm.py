"""Packages of npm, each lock in a folder of its own under .cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.environment import CACHE, fingerprint

NODE, NPM = shutil.which("node"), shutil.which("npm")
# With REQUIRE_NODE, as in CI, the tests of the TypeScript client fail without Node.js, npm or a package registry.
REQUIRED = bool(os.environ.get("REQUIRE_NODE"))
MISSING = not (NODE and NPM)
UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "EAI_AGAIN", "ETIMEDOUT", "E403")


class UnreachableError(Exception):
    """npm reaches no package registry."""


def install(name: str, *files: Path) -> Path:
    """Install exactly the locked packages beside a copy of `files`, unless they are there; return their folder.

    Args:
        name: What the folder is for.
        files: The package.json, its lock, and what runs there.

    Raises:
        UnreachableError: npm reached no registry.
        RuntimeError: There is no npm, or it failed for another reason. The message holds its output.
    """
    if MISSING:
        raise RuntimeError("There is no Node.js with npm here. Install both.")
    folder = CACHE / f"{name}-{fingerprint(*files)}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        building = Path(made) / name
        building.mkdir()
        for file in files:
            shutil.copy(file, building)
        command = [str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=building, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            failed = UnreachableError if any(why in done.stderr for why in UNREACHABLE) else RuntimeError
            raise failed(done.stderr)
        if not folder.is_dir():  # another process may have been quicker
            building.rename(folder)
    return folder

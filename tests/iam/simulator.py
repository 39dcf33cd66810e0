"""iam-simulate, in an environment of its own under .cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.environment import CACHE, fingerprint
from tests.localcloud.decisions import Decision
from tests.localcloud.template import ACCOUNT, Json

NODE, NPM = shutil.which("node"), shutil.which("npm")
HERE = Path(__file__).parent
FILES = tuple(HERE / name for name in ("package.json", "package-lock.json", "judge.mjs"))
ALLOWED, DENIED = "Allowed", "ImplicitlyDenied"
UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "EAI_AGAIN", "ETIMEDOUT", "E403")


class UnreachableError(Exception):
    """npm reaches no package registry."""


def install() -> Path:
    """Install exactly the locked packages, unless they are there; return their folder.

    Raises:
        UnreachableError: npm reached no registry.
        RuntimeError: npm failed for another reason. The message holds its output.
    """
    folder = CACHE / f"iam-{fingerprint(*FILES)}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        building = Path(made) / "iam"
        building.mkdir()
        for file in FILES:
            shutil.copy(file, building)
        command = [str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=building, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            failed = UnreachableError if any(why in done.stderr for why in UNREACHABLE) else RuntimeError
            raise failed(done.stderr)
        if not folder.is_dir():  # another process may have been quicker
            building.rename(folder)
    return folder


def judge(policies: Mapping[str, Sequence[Json]], decisions: Sequence[Decision]) -> list[str]:
    """Return the simulator's verdict on each decision: ALLOWED, DENIED, or an error in the request.

    Raises:
        subprocess.CalledProcessError: The simulator failed.
    """
    asked = {
        "account": ACCOUNT,
        "policies": policies,
        "decisions": [
            {
                "role": one.role,
                "action": one.action,
                "resource": one.resource,
                "keys": {key: list(values) if len(values) != 1 else values[0] for key, values in one.keys},
            }
            for one in decisions
        ],
    }
    folder = install()
    done = subprocess.run(
        [str(NODE), "judge.mjs"],
        cwd=folder,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={"PATH": os.environ.get("PATH", "")},
        timeout=120,
        check=True,
    )
    verdicts: list[str] = json.loads(done.stdout)
    return verdicts

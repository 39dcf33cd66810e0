"""iam-simulate, in an environment of its own under .cache."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.localcloud.decisions import Decision
from tests.localcloud.template import ACCOUNT, Json
from tests.support import npm

HERE = Path(__file__).parent
FILES = tuple(HERE / name for name in ("package.json", "package-lock.json", "judge.mjs"))
ALLOWED, DENIED = "Allowed", "ImplicitlyDenied"


def judge(policies: Mapping[str, Sequence[Json]], decisions: Sequence[Decision]) -> list[str]:
    """Return the simulator's verdict on each decision: ALLOWED, DENIED, or an error in the request.

    Raises:
        npm.UnreachableError: npm reached no registry.
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
    folder = npm.install("iam", *FILES)
    done = subprocess.run(
        [str(npm.NODE), "judge.mjs"],
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

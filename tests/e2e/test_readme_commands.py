"""The README's check after a deployment, as it is pasted, against the local cloud."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.e2e.driving import serving
from tests.environment import ROOT


def block(beginning: str) -> str:
    """The fenced block of the README that begins so."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [one for one in blocks if one.startswith(beginning)]
    return str(found)


def test_the_check_after_a_deployment_has_a_job_done(tmp_path: Path) -> None:
    with serving() as cloud:
        (tmp_path / "photo.jpg").write_bytes(cloud.photo)
        environment = {**os.environ, "API": cloud.told["api"], "TOKEN": cloud.told["tokens"][0]}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block("PHOTO=")],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        created, looked = (json.loads(line) for line in done.stdout.splitlines())
        assert created["job_id"] == looked["job_id"]
        assert cloud.end_of(created["job_id"])["status"] == "SUCCEEDED"

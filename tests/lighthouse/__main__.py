"""Ask Lighthouse about the page of a local cloud: accessibility and best practices must be 100.

`python3 -m tests.lighthouse` installs Lighthouse under .cache at its first run. It needs Node.js, npm and Chromium.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import environment

HERE = Path(__file__).parent
FILES = tuple(HERE / name for name in ("package.json", "package-lock.json"))
CATEGORIES = ("accessibility", "best-practices")
FLAGS = "--headless --no-sandbox --disable-gpu"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def faults(cli: Path, node: str, chromium: str, url: str) -> list[str]:
    """Return what Lighthouse finds wrong at a URL."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [node, str(cli), url, "--quiet", "--output=json", f"--output-path={report}"]
        command += [f"--only-categories={','.join(CATEGORIES)}", f"--chrome-flags={FLAGS}"]
        subprocess.run(command, check=True, timeout=300, env={**os.environ, "CHROME_PATH": chromium})
        found = json.loads(report.read_text())
    return [
        f"{audit['id']}: {audit['title']}"
        for audit in found["audits"].values()
        if audit["score"] is not None and audit["score"] < 1
    ]


def main() -> int:
    # The environment must exist first.
    from tests.localcloud.driving import serving  # noqa: PLC0415
    from tests.support import npm  # noqa: PLC0415
    from tests.support.browser import CHROMIUM  # noqa: PLC0415

    if not CHROMIUM:
        say("There is no chromium here. Install it.")
        return 2
    cli = npm.install("lighthouse", *FILES) / "node_modules/lighthouse/cli/index.js"
    wrong = 0
    with serving() as cloud:
        job_id = cloud.start()
        cloud.end_of(job_id)
        token = f"{cloud.api}/#token={cloud.tokens[0]}"
        pages = {"door": f"{cloud.api}/", "studio": token, "job": f"{token}&job={job_id}"}
        for name, url in pages.items():
            found = faults(cli, str(npm.NODE), CHROMIUM, url)
            say(f"{name}: {'; '.join(found) or '100'}")
            wrong += len(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    environment.ensure("tests.lighthouse")
    sys.exit(main())

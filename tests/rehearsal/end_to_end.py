"""The end-to-end tests on MiniStack: which files run there, and which of their tests fail.

`.venv/bin/python -m tests.rehearsal.end_to_end test_page test_description` runs files and compares their failures with
this list. Without a name, all files of `RUN` run, in a quarter of an hour on an idle machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.environment import ROOT
from tests.rehearsal import deploy

if TYPE_CHECKING:
    from tests.rehearsal.deploy import Build

FOLDER = ROOT / "tests/e2e"
OWN = "It asks the local cloud's own servers or command."

# By the file: the tests that fail on MiniStack 1.5.33, each with its reason.
RUN: dict[str, dict[str, str]] = {
    "test_configuration_e2e": {},
    "test_description": {},
    "test_events_e2e": {
        "test_failed_callback_gets_the_event_again": "An API destination is called once.",
        "test_serve_ends_when_a_server_under_it_dies": OWN,
    },
    "test_flow_e2e": {
        "test_page_may_upload_from_localhost_too": "Only the local cloud gives the page a second origin.",
        "test_two_local_clouds_run_side_by_side_and_clean_up": OWN,
    },
    "test_page": {},
    "test_spending_e2e": {},
}
QUICK = ("test_configuration_e2e",)  # these run in CI
# By the file: why it is not compared.
NOT_RUN = {
    "test_aws_names": "MiniStack has no certificate for AWS's host names.",
    "test_output_hosts": "MiniStack's functions ask the real DNS for names.",
    "test_page_failures": "It asks only the function of the page, before an API of its own.",
    "test_page_loading": "It asks only the function of the page, with a server of its own.",
    "test_page_use": "It tests the page, not what is asked of AWS. test_page is compared.",
    "test_readme_commands": OWN,
    "test_request_budget_e2e": "It counts with moto's recorder. test_deployed.py counts with MiniStack's CloudTrail.",
    "test_roles": "It needs each request with the permissions that allow it. test_iam.py asks MiniStack's IAM instead.",
    "test_two_stacks": "It starts two local clouds on one AWS server.",
}


def failures(name: str, built: Build | None = None) -> set[str]:
    """Run one file on a stack that SAM CLI deploys on MiniStack; return the names of the tests that failed.

    Args:
        name: The file's name, without its ending.
        built: A finished build of today's template, instead of a new one.

    Raises:
        RuntimeError: No test ran. The message holds pytest's output.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.rehearsal.on_ministack",
        f"{FOLDER / name}.py",
    ]
    environment = {**os.environ, **({"REHEARSAL_BUILD": str(built.folder)} if built else {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise RuntimeError(done.stdout + done.stderr)
    return set(re.findall(r"(?m)^(?:FAILED|ERROR) \S+?::(\w+)", done.stdout))


def differences(name: str, built: Build | None = None) -> list[str]:
    """Return the tests of a file that fail or pass otherwise than the list says."""
    found, listed = failures(name, built), RUN[name].keys()
    return [f"{name}: {test} fails" for test in sorted(found - listed)] + [
        f"{name}: {test} passes now" for test in sorted(listed - found)
    ]


def main() -> int:
    """Compare files with the list; return 1 if something differs, 2 if a name is not in the list."""
    names = sys.argv[1:] or list(RUN)
    if unknown := [name for name in names if name not in RUN]:
        sys.stderr.write(f"Not in the list: {', '.join(unknown)}. Choose from {', '.join(RUN)}.\n")
        return 2
    differing = []
    with TemporaryDirectory(prefix="rehearsal-build-", ignore_cleanup_errors=True) as folder:
        built = deploy.build(Path(folder))
        for name in names:
            began = time.monotonic()
            found = differences(name, built)
            differing += found
            lines = found or [f"{name}: as listed, {time.monotonic() - began:.0f} s"]
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

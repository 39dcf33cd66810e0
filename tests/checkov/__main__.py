"""`python3 -m tests.checkov FILE…`: the pinned checkov on CloudFormation templates, in an environment of its own.

It pins another boto3 than the functions use, so the two cannot share one. What it does not look for, and why, stands
in `.checkov.yaml`, or with the resource in `template.yaml`.
"""

import os
import sys

from tests import environment

LOCK = environment.ROOT / "tests/checkov/requirements.txt"

python = environment.made(environment.CACHE / "checkov", (LOCK,))
checkov = python.with_name("checkov")
settings = ["--config-file", str(environment.ROOT / ".checkov.yaml"), "--file"]
os.execv(checkov, [str(checkov), *settings, *sys.argv[1:]])  # our own tool

"""`python3 -m tests.checkov FILE…`: check CloudFormation templates with the pinned checkov.

It has its own environment, because it pins another boto3 than the functions. Skipped checks and their reasons are in
`.checkov.yaml`, or beside the resource in `template.yaml`.
"""

import os
import sys

from tests import environment

LOCK = environment.ROOT / "tests/checkov/requirements.txt"

python = environment.made(environment.CACHE / "checkov", (LOCK,))
checkov = python.with_name("checkov")
settings = ["--config-file", str(environment.ROOT / ".checkov.yaml"), "--file"]
os.execv(checkov, [str(checkov), *settings, *sys.argv[1:]])  # the pinned tool

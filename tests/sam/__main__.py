"""`python3 -m tests.sam ARGUMENTS`: run the pinned SAM CLI.

It has its own environment, because it pins another boto3 than the functions.
"""

import os
import sys
from pathlib import Path

from tests import environment

LOCK = environment.ROOT / "tests/sam/requirements.txt"

python = environment.made(environment.CACHE / "sam", (LOCK,))
# SAM builds with the python3.13 and pip on PATH, but an environment made by uv has no pip.
base = Path(os.path.realpath(python)).parent
path = os.pathsep.join([str(base), os.environ.get("PATH", "")])
settings = {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0"}
sam = python.with_name("sam")
os.execve(sam, [str(sam), *sys.argv[1:]], settings)  # the pinned tool

"""`python3 -m tests [PYTEST OPTIONS]`: run the test suite in its own environment."""

import os
import sys

from tests import environment

environment.ensure("tests")
os.chdir(environment.ROOT)
# Without options the whole suite runs on all cores, one file at a time. Chosen tests run in one process.
options = sys.argv[1:] or ["-n", "auto", "--dist", "loadfile"]
os.execv(sys.executable, [sys.executable, "-m", "pytest", *options])  # the interpreter of .venv

"""`python3 -m tests [PYTEST OPTIONS]`: the whole test suite, in its own environment."""

import os
import sys

from tests import environment

environment.ensure("tests")
os.chdir(environment.ROOT)
# All of it is shared out to the cores, a file at a time; what is asked for by name runs in one process.
options = sys.argv[1:] or ["-n", "auto", "--dist", "loadfile"]
os.execv(sys.executable, [sys.executable, "-m", "pytest", *options])  # our own interpreter

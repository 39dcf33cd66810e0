"""`python3 -m tests [PYTEST OPTIONS]`: the whole test suite, in its own environment."""

import os
import sys

from tests import environment

environment.ensure("tests")
os.chdir(environment.ROOT)
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])  # our own interpreter

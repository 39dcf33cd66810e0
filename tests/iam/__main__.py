"""`python3 -m tests.iam`: run the end-to-end tests, and write every distinct decision of IAM to decisions.json."""

import sys

from tests import environment

environment.ensure("tests.iam")
from tests.iam import recorded  # noqa: E402  # it needs the environment

sys.exit(recorded.record(*sys.argv[1:]))

"""`python3 -m tests.iam`: run the end-to-end tests, and write every distinct decision of IAM to decisions.json."""

import sys

from tests import environment

environment.ensure("tests.iam")
from tests.iam import recorded  # noqa: E402  # it needs the environment

if sys.argv[1:]:
    sys.exit(
        "python3 -m tests.iam takes no options: a part of the tests would write a part of the decisions."
    )
sys.exit(recorded.record())

"""`python3 -m tests.deployed --stack NAME`: judge a deployed stack."""

from __future__ import annotations

import sys

from tests import environment

if __name__ == "__main__":
    environment.ensure("tests.deployed")
    from tests.deployed.command import main  # only the environment has its packages

    sys.exit(main())

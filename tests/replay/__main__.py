"""`python3 -m tests.replay --stack NAME`: announce the ends of jobs that are dead letters of `announce`."""

from __future__ import annotations

import sys

from tests import environment

if __name__ == "__main__":
    environment.ensure("tests.replay")
    from tests.replay.replay import main  # only the environment has its packages

    sys.exit(main())

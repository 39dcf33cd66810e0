"""`python3 -m tests.privacy export|erase --stack NAME --owner SUB`: export or erase everything of one owner."""

from __future__ import annotations

import sys

from tests import environment

if __name__ == "__main__":
    environment.ensure("tests.privacy")
    from tests.privacy.command import main  # only the environment has its packages

    sys.exit(main())

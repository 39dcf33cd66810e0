"""`python3 -m tests.advisories`: ask https://osv.dev for known vulnerabilities of the locked packages.

It fails if a package of the functions has one, and lists those of the tools. If osv.dev cannot be reached, it says that it
checked nothing, and succeeds.
"""

from __future__ import annotations

import sys

from tests.advisories.osv import main

if __name__ == "__main__":
    sys.exit(main())

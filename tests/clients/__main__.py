"""`python3 -m tests.clients`: generate both clients again, after a change of the API's description."""

import sys

from tests import environment

environment.ensure("tests.clients")
from tests.clients import generators  # noqa: E402  # it needs the environment

if sys.argv[1:]:
    sys.exit("python3 -m tests.clients takes no options.")
generators.generate_all()

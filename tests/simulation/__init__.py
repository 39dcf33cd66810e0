"""Many jobs on virtual time, through the real handlers, with faults drawn by a seed.

* `engine`: virtual time; handlers in threads of which only one moves at a time.
* `aws`: what stands in for DynamoDB, S3 and SQS, checked against moto by `tests/simulation/tests/test_stand_ins.py`.
* `replicate`: what stands in for Replicate.
* `faults`: what goes wrong, and how often.
* `wire`: the way to it.
* `cloud`: functions, event sources, and the one place that every request of a handler passes.
* `services`, `functions`, `patches`: AWS as handlers meet it; their code; where all this is put in.
* `clients`: who orders pictures.
* `checks`: what must hold, at each step and at the end.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# As pytest's `pythonpath` has it; here for `python -m tests.simulation`.
for folder in ("layers/triptych", "functions/api"):
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))

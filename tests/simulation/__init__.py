"""A simulation: many jobs through the real handlers, on virtual time, with faults that a seed draws.

* `engine`: virtual time, and handlers in threads of which one runs at a time.
* `aws`: in-memory stand-ins for DynamoDB, S3 and SQS; `tests/simulation/tests/test_stand_ins.py` compares them to moto.
* `replicate`: the stand-in for Replicate.
* `faults`: the faults, and how often they happen.
* `situations`: what can happen, counted when it has really happened.
* `guards`: guards of the layer that a run can leave out, to show that it is noticed.
* `lag`: a list of predictions that lags for minutes.
* `network`: the network between the functions and Replicate.
* `cloud`: the functions and their event sources. Every request of a handler passes through it.
* `services`, `functions`, `patches`: the AWS requests of the handlers, their code, and the patches that connect both.
* `moto_aws`: moto's AWS, for runs on the real code of the table.
* `clients`: the clients of the API.
* `retries`: retries that the API refuses, and whether it may.
* `retention`: the end of retention, when records and objects vanish.
* `receiver`: the server of the clients, which takes callbacks.
* `checks`: the promises, checked at each step and at the end.
* `run`: one run: some jobs and one seed.
* `bombs`, `burst`, `crowd`, `days`: runs of one situation, which the benchmarks measure.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# pytest has these folders in `pythonpath`; `python -m tests.simulation` needs them too.
for folder in ("layers/triptych", "functions/api"):
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))

"""1,000 jobs within a minute, and a Replicate that takes 600 predictions a minute: on virtual time, and in real time.

On virtual time the functions' own handlers run, as in `tests.simulation`, and nothing fails but that Replicate says
429: that is exact. In real time it is the local cloud, with processes, queues and their visibility, and clients that
order and upload, evenly over the minute; a prediction takes about 1.5 s. What the limit allows is the time in which a
token bucket (600 at once, 600 a minute) lets 3,000 predictions through. With `BURST_JOBS` in the environment there are
so many jobs in real time, and a limit in proportion: for machines that cannot do 1,000.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import httpx

from tests.benchmarks import _sides
from tests.benchmarks._report import Figure
from tests.benchmarks._verdict import judge
from tests.simulation.burst import drain
from tests.support.photos import JPEG

if TYPE_CHECKING:
    from collections.abc import Iterator

JOBS, SECONDS, PER_MINUTE = 1000, 60, 600
REAL_JOBS = int(os.environ.get("BURST_JOBS", JOBS))
IMAGES = 3
WORKERS = 4  # of each function, in real time
CLIENTS = 32  # that wait for their turn, or for an answer
PATIENCE = 900  # seconds until jobs count as lost


def measure() -> Iterator[Figure]:
    yield from _virtual()
    yield from _real(REAL_JOBS, REAL_JOBS * PER_MINUTE // JOBS)


def _virtual() -> Iterator[Figure]:
    found = drain(JOBS, SECONDS, per_minute=PER_MINUTE, burst=PER_MINUTE)
    yield Figure(
        f"{JOBS} jobs in {SECONDS} s: last prediction made",
        found.last_created,
        "s",
        "the limit allows",
        found.allowed,
        at_most=1.1,
    )
    yield Figure(
        "last job ended", found.last_ended, "s", "and the slowest model", found.allowed_end, at_most=1.1
    )
    yield Figure("jobs that did not succeed", JOBS - found.states["SUCCEEDED"], "", at_most=0)
    yield Figure(
        "predictions paid for", found.predictions, "", "pictures", JOBS * IMAGES, at_most=1, at_least=1
    )
    yield Figure("requests for them, with those refused by 429", found.requests, "", "pictures", found.images)


def _real(jobs: int, per_minute: int) -> Iterator[Figure]:
    pictures = jobs * IMAGES
    with _sides.triptych(workers=WORKERS, photo=JPEG, creates_per_minute=per_minute) as side:
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as crowd:
            made = list(crowd.map(lambda number: _order(side, began + number * SECONDS / jobs), range(jobs)))
        ordered = time.monotonic() - began
        mine = [job for job in made if job]
        found = side.wait(mine, PATIENCE)
        dead_letters = side.dead_letters()
        ledger = side.stand_in.ledger()
        verdict = judge(found, ledger.predictions, side.objects(), images=IMAGES)
    created = [datetime.fromisoformat(one.created_at) for one in ledger.predictions]
    ended = [datetime.fromisoformat(one.completed_at) for one in ledger.predictions if one.completed_at]
    allowed = (pictures - per_minute) * 60 / per_minute
    yield Figure(f"in real time: {jobs} jobs ordered and uploaded", ordered, "s", "planned", SECONDS)
    yield Figure("orders and uploads that were refused", jobs - len(mine), "", at_most=0)
    last_made = (max(created) - min(created)).total_seconds()
    yield Figure(
        f"{per_minute}/min: last prediction made", last_made, "s", "the limit allows", allowed, at_most=1.1
    )
    last_ended = (max(ended) - min(created)).total_seconds()
    yield Figure("last prediction ended", last_ended, "s", "the limit allows", allowed)
    undone = jobs - sum(one.state == "done" for one in found.values())
    yield Figure("jobs without an end", verdict.lost, "", at_most=0)
    yield Figure(
        "jobs that did not succeed, or without their pictures", undone + verdict.wrong, "", at_most=0
    )
    yield Figure("pictures paid for twice", verdict.paid_twice, "", at_most=0)
    yield Figure("predictions made", ledger.created, "", "pictures", pictures, at_most=1, at_least=1)
    asked = ledger.requests["create"]
    yield Figure("requests for them, with those refused by 429", asked, "", "pictures", pictures)
    yield Figure("messages given up", dead_letters, "", at_most=0)


def _order(side: _sides.Side, at: float) -> str | None:
    """Order a job and upload its photo, once it is time (time.monotonic); its id, or None where that was refused."""
    time.sleep(max(0.0, at - time.monotonic()))  # clients come when they come
    try:
        (job,) = side.start(side.prepare(1))
    except httpx.HTTPError:
        return None
    return job

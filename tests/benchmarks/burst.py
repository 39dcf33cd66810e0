"""1,000 jobs in a minute while Replicate allows 600 predictions a minute, on virtual time and in real time.

On virtual time the real handlers run in `tests.simulation`, and the only failures are Replicate's 429 answers. Those
figures are exact. In real time the local cloud runs, and clients create and upload evenly over the minute. There a
prediction takes about 1.5 s. "The limit allows" is the time that a token bucket (600 at once, 600 a minute) needs for
3,000 predictions. On a slower machine, set BURST_JOBS to a smaller number of jobs in real time; the limit shrinks in
proportion.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import httpx

from tests.benchmarks import _sides
from tests.benchmarks._losses import count_losses
from tests.benchmarks._report import Figure
from tests.simulation.burst import drain
from tests.support.photos import JPEG

if TYPE_CHECKING:
    from collections.abc import Iterator

JOBS, SECONDS, PER_MINUTE = 1000, 60, 600
REAL_JOBS = int(os.environ.get("BURST_JOBS", JOBS))
IMAGES = 3
WORKERS = 4  # processes of each function, in real time
CLIENTS = 32  # concurrent clients
PATIENCE = 900  # seconds until a job counts as lost


def measure() -> Iterator[Figure]:
    yield from _virtual()
    yield from _real(REAL_JOBS, REAL_JOBS * PER_MINUTE // JOBS)


def _virtual() -> Iterator[Figure]:
    found = drain(JOBS, SECONDS, per_minute=PER_MINUTE, burst=PER_MINUTE)
    if found.violation:
        raise RuntimeError(found.violation)
    yield Figure(
        f"{JOBS} jobs in {SECONDS} s: last prediction created",
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
        "predictions paid for", found.predictions, "", "images", JOBS * IMAGES, at_most=1, at_least=1
    )
    yield _create_requests(found.requests, found.images)


def _real(jobs: int, per_minute: int) -> Iterator[Figure]:
    images = jobs * IMAGES
    with _sides.triptych(workers=WORKERS, photo=JPEG, creates_per_minute=per_minute) as side:
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as crowd:
            made = list(crowd.map(lambda number: _create(side, began + number * SECONDS / jobs), range(jobs)))
        seconds = time.monotonic() - began
        created = [job for job in made if job]
        found = side.wait(created, PATIENCE)
        dead_letters = side.dead_letters()
        ledger = side.stand_in.ledger()
        losses = count_losses(found, ledger.predictions, side.objects(), images=IMAGES)
    starts = [datetime.fromisoformat(one.created_at) for one in ledger.predictions]
    ends = [datetime.fromisoformat(one.completed_at) for one in ledger.predictions if one.completed_at]
    allowed = (images - per_minute) * 60 / per_minute
    yield Figure(f"in real time: {jobs} jobs created and uploaded", seconds, "s", "planned", SECONDS)
    yield Figure("creations and uploads that were refused", jobs - len(created), "", at_most=0)
    last_created = (max(starts) - min(starts)).total_seconds()
    yield Figure(
        f"{per_minute}/min: last prediction created",
        last_created,
        "s",
        "the limit allows",
        allowed,
        at_most=1.1,
    )
    last_ended = (max(ends) - min(starts)).total_seconds()
    yield Figure("last prediction ended", last_ended, "s", "the limit allows", allowed)
    unfinished = jobs - sum(one.state == "done" for one in found.values())
    yield Figure("jobs that did not end", losses.lost, "", at_most=0)
    yield Figure("jobs that did not succeed or lack an output", unfinished + losses.wrong, "", at_most=0)
    yield Figure("images paid for twice", losses.paid_twice, "", at_most=0)
    yield Figure("predictions created", ledger.created, "", "images", images, at_most=1, at_least=1)
    yield _create_requests(ledger.requests["create"], images)
    yield Figure("dead letters", dead_letters, "", at_most=0)


def _create_requests(requests: int, images: int) -> Figure:
    name = "create requests, with those refused by 429"
    return Figure(name, requests, "", "images", images, at_most=1.3)


def _create(side: _sides.Side, at: float) -> str | None:
    """Create a job and upload its photo at a time of time.monotonic; return its id, or None if that was refused."""
    time.sleep(max(0.0, at - time.monotonic()))
    try:
        (job,) = side.start(side.prepare(1))
    except httpx.HTTPError:
        return None
    return job

"""1,000 jobs within a minute, and a Replicate that takes 600 predictions a minute: on virtual time.

The functions' own handlers run, as in `tests.simulation`, and nothing fails but that Replicate says 429. What the
limit allows is the time in which a token bucket (600 at once, 600 a minute) lets 3,000 predictions through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks._report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

JOBS, SECONDS, PER_MINUTE = 1000, 60, 600


def measure() -> Iterator[Figure]:
    from tests.simulation.burst import IMAGES, drain  # noqa: PLC0415  # it puts the layer on the path

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
    yield Figure(
        "requests for them, with those refused by 429", found.requests, "", "pictures", found.pictures
    )

"""Many jobs at once, more than Replicate's rate limit lets through: how long it takes until all are done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from tests.simulation.checks import Violation
from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import Faults
from tests.simulation.replicate import MODEL_SECONDS
from tests.simulation.run import END
from tests.support.function_environment import ENVIRONMENT

CONCURRENCY = 20  # GenerateConcurrency of an account that is not new: Replicate's limit is to be the only one
IMAGES = int(ENVIRONMENT["IMAGE_COUNT"])  # of each job


@dataclass(frozen=True)
class Drain:
    """How a burst was worked off. Seconds are virtual, and count from the first prediction."""

    violation: str | None  # of a promise
    states: Counter[str]
    predictions: int
    pictures: int  # that those were for
    requests: int  # for predictions; what was refused with 429 is among them
    last_created: float  # when the last prediction was made
    last_ended: float  # when the last job ended
    allowed: float  # when the last prediction could have been made, had there always been one waiting
    allowed_end: float  # and its job have ended, had it been of the slowest


def drain(jobs: int, seconds: float, *, per_minute: float, burst: int, seed: int = 1) -> Drain:
    """Let so many clients come within so many seconds. Nothing fails, but that Replicate says 429.

    Args:
        jobs: how many.
        seconds: within which they come.
        per_minute: predictions that Replicate lets through.
        burst: of which so many at once, as a token bucket does.
        seed: of the run.
    """
    faults = Faults(Random(seed), per_minute=per_minute, burst=burst)
    violation = None
    with Cloud(faults, concurrency=CONCURRENCY) as cloud:
        for number in range(jobs):
            cloud.engine.after(cloud.random.uniform(0, seconds), Client(cloud, number).start)
        try:
            cloud.checks.at_the_end(over=cloud.engine.run(END))
        except Violation as broken:
            violation = str(broken)
        created = [made.created_at for made in cloud.replicate.predictions.values()]
        allowed = max(0.0, jobs * IMAGES - burst) * 60 / per_minute
        return Drain(
            violation,
            cloud.checks.summary(),
            predictions=len(created),
            pictures=len(cloud.checks.billed),
            requests=sum(request.endswith(": Replicate create") for request in cloud.requests),
            last_created=max(created) - min(created),
            last_ended=max(cloud.checks.ended_at.values()) - min(created),
            allowed=allowed,
            allowed_end=allowed + MODEL_SECONDS[1],
        )

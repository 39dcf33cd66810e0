"""A burst of more jobs than Replicate's rate limit allows, and how long it takes to finish them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from tests.simulation.clients import Client
from tests.simulation.cloud import Cloud
from tests.simulation.faults import Faults
from tests.simulation.replicate import MODEL_SECONDS
from tests.simulation.run import END
from tests.support.function_environment import ENVIRONMENT

CONCURRENCY = {
    "generation": 20,
    "waiting": 8,
    "watchdog": 20,
}  # of an older account, so that only Replicate's limit matters
IMAGES = int(ENVIRONMENT["IMAGE_COUNT"])  # of each job


@dataclass(frozen=True)
class Drain:
    """The result of a burst. Seconds are virtual and count from the first prediction."""

    violation: str | None  # the broken promise, if any
    states: Counter[str]
    predictions: int
    images: int  # images that have a prediction
    requests: int  # create requests, including those refused with 429
    last_created: float  # time of the last prediction
    last_ended: float  # end of the last job
    allowed: float  # earliest possible time of the last prediction under the limit
    allowed_end: float  # the end of a job at that time with the slowest model


def drain(jobs: int, seconds: float, *, per_minute: float, burst: int, seed: int = 1) -> Drain:
    """Run a burst in which the only failures are Replicate's 429 answers.

    Args:
        jobs: The number of jobs, one for each client.
        seconds: The time within which the clients start.
        per_minute: Replicate's limit for predictions in a minute.
        burst: The size of Replicate's token bucket.
        seed: The seed of the run.
    """
    faults = Faults(Random(seed), per_minute=per_minute, burst=burst)
    with Cloud(faults, concurrency=CONCURRENCY) as cloud:
        for number in range(jobs):
            cloud.engine.after(cloud.random.uniform(0, seconds), Client(cloud, number).start)
        violation = cloud.broken_promise(END)
        created = [made.created_at for made in cloud.replicate.predictions.values()]
        allowed = max(0.0, jobs * IMAGES - burst) * 60 / per_minute
        return Drain(
            violation,
            cloud.checks.summary(),
            predictions=len(created),
            images=len(cloud.checks.billed),
            requests=sum(request.endswith(": Replicate create") for request in cloud.requests),
            last_created=max(created) - min(created),
            last_ended=max(cloud.checks.ended_at.values()) - min(created),
            allowed=allowed,
            allowed_end=allowed + MODEL_SECONDS[1],
        )

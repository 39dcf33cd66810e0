"""Owners who share Replicate's rate limit: how long each waits, and how many requests are wasted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.burst import IMAGES
from tests.simulation.clients import Client
from tests.simulation.cloud import DEFAULT, Cloud
from tests.simulation.faults import Faults
from tests.simulation.run import END

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass
class Member(Client):
    """A client of a named owner."""

    name: str = ""

    @property
    def owner(self) -> str:
        return self.name


@dataclass(frozen=True)
class Crowd:
    """The result. Seconds are virtual."""

    violation: str | None  # the broken promise, if any
    states: Counter[str]
    requests_for_image: float  # create requests, including those refused with 429
    drain: float  # time of the last prediction, as a multiple of what the limit allows
    newcomer_asked: float  # from the newcomer's upload to its last prediction
    newcomer_ended: float  # from the newcomer's upload to its end
    jain: (
        float  # Jain's index of the owners' predictions, while all of them have jobs left: 1 if all are equal
    )


def crowd(  # options, all by keyword
    sizes: Sequence[int],
    *,
    per_minute: float,
    burst: int,
    newcomer_at: float,
    seconds: float = 2.0,
    seed: int = 1,
    concurrency: Mapping[str, int] = DEFAULT,
) -> Crowd:
    """Let owners create jobs at the same time, and another owner a single job later.

    Args:
        sizes: The jobs of each owner of the crowd.
        per_minute: Replicate's limit for predictions in a minute.
        burst: The size of Replicate's token bucket.
        newcomer_at: When the single job is created.
        seconds: The time within which the crowd starts.
        seed: The seed of the run.
        concurrency: The concurrency of each queue's function, by the queue, instead of the template's default.
    """
    faults = Faults(Random(seed), per_minute=per_minute, burst=burst)
    with Cloud(faults, concurrency=concurrency) as cloud:
        members = [Member(cloud, 0, name="newcomer")]
        members += [
            Member(cloud, 1 + number, name=f"owner {index}")
            for index, size in enumerate(sizes)
            for number in range(sum(sizes[:index]), sum(sizes[:index]) + size)
        ]
        cloud.engine.after(newcomer_at, members[0].start)
        for member in members[1:]:
            cloud.engine.after(cloud.random.uniform(0, seconds), member.start)
        violation = cloud.broken_promise(END)
        owners = {member.job_id: member.owner for member in members}
        made = sorted(
            (one.created_at, owners[one.slot.job_id]) for one in cloud.replicate.predictions.values()
        )
        first = members[0].job_id
        started = cloud.checks.records[first].started_at
        assert started
        uploaded = cloud.seconds(started)
        allowed = max(0.0, len(made) - burst) * 60 / per_minute
        return Crowd(
            violation,
            cloud.checks.summary(),
            sum(request.endswith(": Replicate create") for request in cloud.requests) / len(made),
            (made[-1][0] - made[0][0]) / allowed if allowed else 0.0,
            newcomer_asked=max(at for at, owner in made if owner == "newcomer") - uploaded,
            newcomer_ended=cloud.checks.ended_at[first] - uploaded,
            jain=_jain([owner for _, owner in made if owner != "newcomer"], sizes),
        )


def _jain(made: Sequence[str], sizes: Sequence[int]) -> float:
    """Return Jain's index up to the time when the first owner has all of its predictions."""
    had: Counter[str] = Counter()
    for owner in made:
        had[owner] += 1
        if had[owner] == IMAGES * sizes[int(owner.split()[1])]:
            break
    counts = [had[f"owner {index}"] for index in range(len(sizes))] or [1]
    return sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts))

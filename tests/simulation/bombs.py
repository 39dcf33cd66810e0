"""Owners who upload photos that take much CPU time, and other owners' good photos among them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import IO, TYPE_CHECKING
from unittest.mock import patch

from tests.simulation.cloud import Cloud
from tests.simulation.crowd import Member
from tests.simulation.faults import Faults
from tests.simulation.run import END
from tests.support.photos import JPEG
from triptych.photo import bounded, inspection

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from triptych.photo.inspection import Finding

BOMB = JPEG[:-2] + b"bomb"


SOON = (0.1, 5.0)  # seconds from the creation to the upload
# The watchdog looks 60 s after the creation, and finds photos that were not opened.
BEFORE_THE_FIRST_LOOK = (58.0, 59.8)


@dataclass
class Bomber(Member):
    """A client that uploads a bomb."""

    uploads: tuple[float, float] = SOON

    def _will_upload(self) -> None:
        self.cloud.engine.after(self.cloud.random.uniform(*self.uploads), partial(self._upload, BOMB))


@dataclass(frozen=True)
class Good:
    """A good photo. Seconds are virtual, and count from its upload."""

    asked: float  # until its last prediction was created
    ended: float  # until its job ended

    def ended_if_asked_after(self, seconds: float) -> float:
        """Return when the job would have ended if its last prediction had been created then."""
        return self.ended - self.asked + seconds


@dataclass(frozen=True)
class Bombed:
    """The result."""

    violation: str | None  # the broken promise, if any
    states: Counter[str]
    good: list[Good]


def bombed(
    sizes: Sequence[int],
    good_at: Sequence[float],
    *,
    cpu_seconds: float,
    seconds: float = 2.0,
    uploads: tuple[float, float] = SOON,
    seed: int = 1,
) -> Bombed:
    """Let owners upload bombs, and other owners one good photo each.

    Each invocation has a CPU of its own, and the concurrency is the template's default.

    Args:
        sizes: The bombs of each owner.
        good_at: When each good job is created, in seconds after the start.
        cpu_seconds: What a bomb takes until it is rejected.
        seconds: The time within which the bombs' jobs are created.
        uploads: The shortest and the longest time from the creation of a bomb's job to its upload.
        seed: The seed of the run.
    """
    look = inspection._look

    def looked(file: IO[bytes], kind: str, max_pixels: int, max_edge: int) -> Finding:
        if os.pread(file.fileno(), len(BOMB), 0) != BOMB:
            return look(file, kind, max_pixels, max_edge)
        cloud.engine.sleep(cpu_seconds)
        raise bounded.ExceededError

    with (
        Cloud(Faults(Random(seed), per_minute=600, burst=600)) as cloud,
        patch.object(inspection, "_look", looked),
    ):
        good = [Member(cloud, number, name=f"good {number}") for number in range(len(good_at))]
        bombers = [
            Bomber(cloud, len(good) + number, name=f"bomber {owner}", uploads=uploads)
            for number, owner in enumerate(owner for owner, size in enumerate(sizes) for _ in range(size))
        ]
        for member, at in zip(good, good_at, strict=True):
            cloud.engine.after(at, member.start)
        for bomber in bombers:
            cloud.engine.after(cloud.random.uniform(0, seconds), bomber.start)
        violation = cloud.broken_promise(END)
        return Bombed(
            violation,
            cloud.checks.summary(),
            [_good(cloud, one.job_id) for one in good],
        )


def _good(cloud: Cloud, job_id: str) -> Good:
    started = cloud.checks.records[job_id].started_at
    assert started
    made = [one.created_at for one in cloud.replicate.predictions.values() if one.slot.job_id == job_id]
    uploaded = cloud.seconds(started)
    return Good(max(made) - uploaded, cloud.checks.ended_at[job_id] - uploaded)

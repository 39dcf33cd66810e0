"""The losses of Triptych and of the Celery task that it replaces under the same faults.

Each fault hits 20 jobs (60 images) on each side, with two workers. A worker is killed (SIGKILL) while it waits for the
delayed answer to a create request whose prediction exists already. An answer is lost after the prediction was made. A forged
webhook with the status `failed` precedes each true one. Triptych's watchdog looks every 2 s instead of every 300 s.

It needs redis-server (`apt-get install redis-server`).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from tests.benchmarks import _sides
from tests.benchmarks._losses import count_losses
from tests.benchmarks._report import Figure
from tests.localcloud.replicate_faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks._losses import Losses

JOBS, IMAGES = 20, 3
SECONDS = 60  # until a job counts as lost; predictions take 2 s
KILLS = (8, 24, 40)  # after so many create requests, the sender of the next one is killed
PARAMETERS = {"WatchdogDelaySeconds": "2"}
STAND_IN: dict[str, Any] = {"seconds": 2, "creates_per_minute": 0, "webhook_scale": 0.2}
# Longer than finding the waiting worker takes, and than Triptych waits for an answer.
HELD = tuple(Fault(kind="hang", on="create", skip=made, times=1, seconds=30) for made in KILLS)

FAULTS: dict[str, tuple[Fault, ...]] = {
    f"{len(KILLS)} workers killed": HELD,
    "6 answers lost": (Fault(kind="cut", on="create", skip=10, times=6),),
    "6 webhooks dropped": (Fault(kind="drop_webhook", skip=10, times=6),),
    "webhooks thrice": (Fault(kind="duplicate_webhook", copies=2),),
    "webhooks forged": (Fault(kind="forge_webhook"),),
}


WORDS = {
    "lost": "jobs that did not end",
    "paid_twice": "images paid for twice",
    "wrong": "jobs reported wrongly",
}


def measure() -> Iterator[Figure]:
    _sides.redis_server()  # fails before anything has started
    with _sides.triptych(PARAMETERS, **STAND_IN) as side:
        ours = {name: _losses(side, faults) for name, faults in FAULTS.items()}
    with _sides.celery(**STAND_IN) as side:
        theirs = {name: _losses(side, faults) for name, faults in FAULTS.items()}
    for name in FAULTS:
        for loss, words in WORDS.items():
            found, baseline = getattr(ours[name], loss), getattr(theirs[name], loss)
            yield Figure(f"{name}: {words}", found, "", "Celery", baseline, at_most=0)


def _losses(side: _sides.Side, faults: tuple[Fault, ...]) -> Losses:
    side.stand_in.set_faults(*faults)
    jobs = side.start(side.prepare(JOBS))
    if faults is HELD:
        _kill_waiting_workers(side)
    found = side.wait(jobs, SECONDS)
    return count_losses(found, side.stand_in.ledger().predictions, side.objects(), images=IMAGES)


def _kill_waiting_workers(side: _sides.Side) -> None:
    known: set[int] = set()
    while len(known) < len(KILLS):
        worker, port = side.asking(SECONDS, but=known)
        os.kill(worker, signal.SIGKILL)
        known.add(port)

"""The same faults for Triptych and for the Celery task that it replaces: what is lost, paid for twice, or told wrongly.

For each fault, 20 jobs (60 pictures) on either side, with two workers. A worker is killed (SIGKILL) in the midst of
asking: the prediction is made, the stand-in holds the answer back, and whoever waits for it dies. An answer is lost
after the prediction was made; a forged webhook, which says `failed`, comes before each true one. Triptych's watchdog looks every two seconds here, in place of every 300. It needs redis-server
(`apt-get install redis-server`).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from tests.benchmarks import _sides
from tests.benchmarks._report import Figure
from tests.benchmarks._verdict import judge
from tests.localcloud.replicate_faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks._verdict import Verdict

JOBS, IMAGES = 20, 3
SECONDS = 60  # that a job may take until it counts as lost; predictions take 2 s
KILLS = (8, 24, 40)  # so many creates have gone well: whoever sends the next one is killed
PARAMETERS = {"WatchdogDelaySeconds": "2"}
STAND_IN: dict[str, Any] = {"seconds": 2, "creates_per_minute": 0, "webhook_scale": 0.2}
# Longer than it takes to find out who waits, and than Triptych itself waits for an answer.
HELD = tuple(Fault(kind="hang", on="create", skip=made, times=1, seconds=30) for made in KILLS)

FAULTS: dict[str, tuple[Fault, ...]] = {
    f"{len(KILLS)} workers killed": HELD,
    "6 answers lost": (Fault(kind="cut", on="create", skip=10, times=6),),
    "6 webhooks dropped": (Fault(kind="drop_webhook", skip=10, times=6),),
    "webhooks thrice": (Fault(kind="duplicate_webhook", copies=2),),
    "webhooks forged": (Fault(kind="forge_webhook"),),
}


WORDS = {
    "lost": "jobs without an end",
    "paid_twice": "pictures paid for twice",
    "wrong": "jobs told wrongly",
}


def measure() -> Iterator[Figure]:
    _sides.redis_server()  # before anything is started for nothing
    with _sides.triptych(PARAMETERS, **STAND_IN) as side:
        ours = {name: _verdict(side, faults) for name, faults in FAULTS.items()}
    with _sides.celery(**STAND_IN) as side:
        theirs = {name: _verdict(side, faults) for name, faults in FAULTS.items()}
    for name in FAULTS:
        for what, words in WORDS.items():
            found, baseline = getattr(ours[name], what), getattr(theirs[name], what)
            yield Figure(f"{name}: {words}", found, "", "Celery", baseline, at_most=0)


def _verdict(side: _sides.Side, faults: tuple[Fault, ...]) -> Verdict:
    side.stand_in.set_faults(*faults)
    jobs = side.start(side.prepare(JOBS))
    if faults is HELD:
        _kill_who_asks(side)
    found = side.wait(jobs, SECONDS)
    return judge(found, side.stand_in.ledger().predictions, side.objects(), images=IMAGES)


def _kill_who_asks(side: _sides.Side) -> None:
    known: set[int] = set()
    while len(known) < len(KILLS):
        worker, port = side.asking(SECONDS, but=known)
        os.kill(worker, signal.SIGKILL)
        known.add(port)

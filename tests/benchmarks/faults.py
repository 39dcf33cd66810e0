"""The same faults for Triptych and for the Celery task that it replaces: what is lost, paid for twice, or told wrongly.

For each fault, 20 jobs (60 pictures) on either side, with two workers. A worker is killed (SIGKILL) while it asks for
pictures; an answer is lost after the prediction was made; a forged webhook, which says `failed`, comes before each true
one. Triptych's watchdog looks every two seconds here, in place of every 300. It needs redis-server
(`apt-get install redis-server`).
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.benchmarks import _sides
from tests.benchmarks._report import Figure
from tests.benchmarks._verdict import judge
from tests.localcloud.replicate_faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks._verdict import Verdict

JOBS, IMAGES = 20, 3
SECONDS = 60  # that a job may take until it counts as lost; predictions take 2 s
KILLS = (8, 24, 40)  # so many predictions made: a worker is killed then
PARAMETERS = {"WatchdogDelaySeconds": "2"}
STAND_IN = {"seconds": 2, "creates_per_minute": 0, "webhook_scale": 0.2}
SLOW = Fault(kind="hang", on="create", seconds=0.3)

FAULTS: dict[str, tuple[Fault, ...]] = {
    f"{len(KILLS)} workers killed": (SLOW,),
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
    before = side.stand_in.ledger().created
    jobs = side.start(side.prepare(JOBS))
    if SLOW in faults:
        for made in KILLS:
            _kill_a_worker(side, before + made)
    found = side.wait(jobs, SECONDS)
    return judge(found, side.stand_in.ledger().predictions, side.objects(), images=IMAGES)


def _kill_a_worker(side: _sides.Side, made: int) -> None:
    """Kill one once so many predictions have been made: it is then in the middle of asking for some."""
    give_up_at = time.monotonic() + SECONDS
    while side.stand_in.ledger().created < made and time.monotonic() < give_up_at:
        time.sleep(0.05)  # the ledger does not tell that it has grown
    with suppress(ProcessLookupError):
        os.kill(side.workers()[0], signal.SIGKILL)

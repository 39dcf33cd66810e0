"""`python -m tests.simulation --jobs N --seed S [--minutes M]`: many jobs on virtual time, with faults.

Jobs come in runs of at most 100; each run is a world of its own, with the next seed. A run that breaks a promise
prints the command that repeats it. Ends with 1 if one did.

`--outage KIND MINUTES`: nothing goes wrong but Replicate, for so long from the beginning.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.faults import REPLICATE_OUTAGES, Faults
from tests.simulation.run import RUN_JOBS, Outcome, run


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # the command's output


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the first run")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after so long, finished or not")
    parser.add_argument("--outage", nargs=2, metavar=("KIND", "MINUTES"), help=", ".join(REPLICATE_OUTAGES))
    parser.add_argument("--quiet", action="store_true", help="the summary only")
    arguments = parser.parse_args()
    if arguments.outage and arguments.outage[0] not in REPLICATE_OUTAGES:
        parser.error(f"an outage is one of {', '.join(REPLICATE_OUTAGES)}")
    began = time.monotonic()
    outcomes: list[Outcome] = []
    sizes = [min(RUN_JOBS, arguments.jobs - done) for done in range(0, arguments.jobs, RUN_JOBS)]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        seeds = range(arguments.seed, arguments.seed + len(sizes))
        for outcome in pool.map(run, seeds, sizes, [_faults(arguments.outage, seed) for seed in seeds]):
            outcomes.append(outcome)
            if not arguments.quiet:
                _say(f"seed {outcome.seed}, {outcome.jobs} jobs, trace {outcome.trace}: {outcome.faults}")
            if outcome.violation:
                _say(f"  BROKEN: {outcome.violation}")
                _say(f"  again: python -m tests.simulation --jobs {outcome.jobs} --seed {outcome.seed}")
            if arguments.minutes and time.monotonic() - began > arguments.minutes * 60:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    _say(_summary(outcomes, time.monotonic() - began))
    return 1 if any(outcome.violation for outcome in outcomes) else 0


def _faults(outage: tuple[str, str] | None, seed: int) -> Faults | None:
    """What goes wrong; None is what the seed draws."""
    return Faults.of_outage(outage[0], float(outage[1]) * 60, seed) if outage else None


def _summary(outcomes: list[Outcome], seconds: float) -> str:
    injected: Counter[str] = sum((outcome.injected for outcome in outcomes), Counter())
    states: Counter[str] = sum((outcome.states for outcome in outcomes), Counter())
    failures: Counter[str] = sum((outcome.failures for outcome in outcomes), Counter())
    posts = sum(outcome.posts for outcome in outcomes)
    jobs = sum(outcome.jobs for outcome in outcomes)
    broken = sum(outcome.violation is not None for outcome in outcomes)
    billed = sum(outcome.billed for outcome in outcomes)
    pictures = sum(outcome.pictures for outcome in outcomes)
    slowest = max(outcomes, key=lambda outcome: outcome.slowest)
    return "\n".join(
        [
            "",
            f"{jobs} jobs in {len(outcomes)} runs, {broken} of them broke a promise",
            f"faults: {', '.join(f'{kind} {n}' for kind, n in injected.most_common())}",
            f"predictions billed: {billed}, for {pictures} pictures; {billed - pictures} more that owners wanted tried again",
            f"jobs by state: {', '.join(f'{state} {n}' for state, n in states.most_common())}",
            f"pictures that failed: {', '.join(f'{code} {n}' for code, n in failures.most_common()) or 'none'}",
            f"requests for a prediction: {posts}",
            f"slowest end: {slowest.slowest:.0f} s after the upload, virtual (seed {slowest.seed})",
            f"wall time: {seconds:.0f} s, {jobs / seconds:.0f} jobs/s",
        ]
    )


if __name__ == "__main__":
    sys.exit(_main())

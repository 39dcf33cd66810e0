"""`python -m tests.simulation --jobs N --seed S [--minutes M]`: run many jobs on virtual time, with faults.

Each run has at most 100 jobs and its own seed: S, S + 1 and so on. If a run breaks a promise, the command that repeats
it is printed, and the exit code is 1.

At the end it prints how often each situation has really happened. If a run of 1,000 jobs or more has too few of one, or
never draws a kind of fault, the exit code is 1 too.

With `--without GUARD` a guard of the layer is left out. The run stops at the first broken promise.

With `--outage KIND MINUTES` the only fault is an outage of Replicate, from the start and for so many minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.faults import HIGHEST, REPLICATE_OUTAGES, Faults
from tests.simulation.guards import GUARDS
from tests.simulation.run import RUN_JOBS, Result, run
from tests.simulation.situations import ENOUGH_JOBS, Situation, missing, table


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # a command prints its output


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the first run")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after M minutes")
    parser.add_argument("--outage", nargs=2, metavar=("KIND", "MINUTES"), help=", ".join(REPLICATE_OUTAGES))
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), metavar="N", help="how many runs at the same time"
    )
    parser.add_argument("--without", metavar="GUARD", choices=sorted(GUARDS), help=", ".join(sorted(GUARDS)))
    parser.add_argument("--quiet", action="store_true", help="print only the summary")
    arguments = parser.parse_args()
    if arguments.outage and arguments.outage[0] not in REPLICATE_OUTAGES:
        parser.error(f"KIND of an outage must be one of {', '.join(REPLICATE_OUTAGES)}")
    began = time.monotonic()
    results: list[Result] = []
    sizes = [min(RUN_JOBS, arguments.jobs - done) for done in range(0, arguments.jobs, RUN_JOBS)]
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        seeds = range(arguments.seed, arguments.seed + len(sizes))
        faults = [_faults(arguments.outage, seed) for seed in seeds]
        for result in pool.map(run, seeds, sizes, faults, [arguments.without] * len(sizes)):
            results.append(result)
            if not arguments.quiet:
                _say(f"seed {result.seed}, {result.jobs} jobs, trace {result.trace}: {result.faults}")
            if result.violation:
                _say(f"  BROKEN: {result.violation}")
                guard = f" --without {arguments.without}" if arguments.without else ""
                _say(f"  again: python -m tests.simulation --jobs {result.jobs} --seed {result.seed}{guard}")
            noticed = result.violation and arguments.without
            late = arguments.minutes and time.monotonic() - began > arguments.minutes * 60
            if noticed or late:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    _say(_summary(results, time.monotonic() - began))
    rare = too_rare(results) if not arguments.outage else []
    if rare:
        _say(f"TOO RARE: {', '.join(rare)}")
    return 1 if rare or any(result.violation for result in results) else 0


def too_rare(results: list[Result]) -> list[str]:
    """Return the situations of which a run of enough jobs has too few, and the kinds of faults that it never drew."""
    jobs = sum(result.jobs for result in results)
    if jobs < ENOUGH_JOBS:
        return []
    drawn: Counter[str] = sum((result.injected for result in results), Counter())
    return [*missing(_situations(results), jobs), *(kind for kind in HIGHEST if not drawn[kind])]


def _situations(results: list[Result]) -> Counter[Situation]:
    return sum((result.situations for result in results), Counter())


def _faults(outage: tuple[str, str] | None, seed: int) -> Faults | None:
    """Return the faults of an outage; None if the seed draws the faults."""
    return Faults.of_outage(outage[0], float(outage[1]) * 60, seed) if outage else None


def _summary(results: list[Result], seconds: float) -> str:
    states: Counter[str] = sum((result.states for result in results), Counter())
    failures: Counter[str] = sum((result.failures for result in results), Counter())
    posts = sum(result.posts for result in results)
    jobs = sum(result.jobs for result in results)
    broken = sum(result.violation is not None for result in results)
    billed = sum(result.billed for result in results)
    images = sum(result.images for result in results)
    doubled = sum(result.doubled for result in results)
    retried = billed - images - doubled
    longest_wait = max(result.longest_wait for result in results)
    run_on = max(result.longest_run_on for result in results)
    hindered = max(result.longest_run_on_hindered for result in results)
    slowest = max(results, key=lambda result: result.slowest)
    return "\n".join(
        [
            "",
            f"{jobs} jobs in {len(results)} runs, {broken} of them broke a promise",
            table(_situations(results)),
            "",
            f"predictions billed: {billed}, for {images} images; owners retried {retried}, one POST made two {doubled} times",
            f"jobs by state: {', '.join(f'{state} {n}' for state, n in states.most_common())}",
            f"failed images by code: {', '.join(f'{code} {n}' for code, n in failures.most_common()) or 'none'}",
            f"create requests to Replicate: {posts}",
            f"most messages sent for one job from its creation, or a retry, on: {max(result.most_messages for result in results)}",
            f"longest time that a message waited for a free function: {longest_wait:.0f} s",
            f"longest time that a prediction ran after its job's end: {run_on:.1f} s, {hindered:.0f} s where faults hindered",
            f"slowest job: {slowest.slowest:.0f} virtual s from the upload to the end (seed {slowest.seed})",
            f"wall time: {seconds:.0f} s, {jobs / seconds:.0f} jobs/s",
        ]
    )


if __name__ == "__main__":
    sys.exit(_main())

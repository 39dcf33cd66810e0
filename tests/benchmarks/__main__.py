"""Run benchmarks and print each figure beside its baseline.

`python3 -m tests.benchmarks` runs all benchmarks; append names to run only those. Each module here is a benchmark that
yields its figures.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from tests import environment

NAMES = sorted(
    file.stem
    for file in (environment.ROOT / "tests/benchmarks").glob("*.py")
    if not file.stem.startswith("_")
)


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> None:
    from tests.benchmarks import _report  # noqa: PLC0415  # the environment must exist first

    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--strict", action="store_true", help="fail if a goal is missed or a benchmark is skipped"
    )
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar="FILE", help="compare two such files; run nothing"
    )
    options = parser.parse_args()
    if options.compare:
        say(*_report.compare(*options.compare))
        return
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}. The benchmarks are {', '.join(NAMES)}")
    os.chdir(environment.ROOT)
    found: dict[str, list[_report.Figure]] = {}
    failures = []
    for name in options.names or NAMES:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        say(f"{name}: {(module.__doc__ or '').strip().splitlines()[0]}")
        found[name] = []
        try:
            for figure in module.measure():
                found[name].append(figure)
                say(f"  {_report.line(figure)}")
                if figure.is_missed:
                    failures.append(f"{name} missed {figure.name}")
        except _report.UnavailableError as missing:
            say(f"  skipped: {missing}")
            failures.append(f"{name} was skipped: {missing}")
    if options.json:
        _report.write(options.json, found)
        say(f"written to {options.json}")
    if options.strict and failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    environment.ensure("tests.benchmarks")
    main()

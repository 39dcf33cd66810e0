"""Measure, and print each figure with its baseline beside it.

`python3 -m tests.benchmarks` runs all; names run those. Each module here is one, and yields its figures.
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
    from tests.benchmarks import _report  # noqa: PLC0415  # after the environment is there

    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(NAMES)}; none is all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--strict", action="store_true", help="fail where a goal is missed")
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar="FILE", help="measure nothing: compare two such files"
    )
    options = parser.parse_args()
    if options.compare:
        say(*_report.compare(*options.compare))
        return
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    os.chdir(environment.ROOT)
    found: dict[str, list[_report.Figure]] = {}
    for name in options.names or NAMES:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        say(f"{name}: {(module.__doc__ or '').strip().splitlines()[0]}")
        found[name] = []
        try:
            for figure in module.measure():
                found[name].append(figure)
                say(f"  {_report.line(figure)}")
        except _report.Unavailable as missing:
            say(f"  left out: {missing}")
    if options.json:
        _report.write(options.json, found)
        say(f"written to {options.json}")
    missed = [figure.name for figures in found.values() for figure in figures if figure.is_missed]
    if options.strict and missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    environment.ensure("tests.benchmarks")
    main()

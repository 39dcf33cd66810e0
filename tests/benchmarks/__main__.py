"""`python3 -m tests.benchmarks NAME`: measure one thing, and print what was found."""

from __future__ import annotations

import argparse
import importlib
import os

from tests import environment

NAMES = sorted(
    file.stem
    for file in (environment.ROOT / "tests/benchmarks").glob("*.py")
    if not file.stem.startswith("_")
)

if __name__ == "__main__":
    environment.ensure("tests.benchmarks")
    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    chosen = parser.parse_args().name
    os.chdir(environment.ROOT)
    importlib.import_module(f"tests.benchmarks.{chosen}").main()

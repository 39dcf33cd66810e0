"""`python3 -m tests.rehearsal`: build and deploy the stack on an AWS emulator, use it, update it and delete it."""

from __future__ import annotations

from tests import environment

environment.ensure("tests.rehearsal")

import argparse  # noqa: E402  # the environment comes first
import json  # noqa: E402  # as above
import signal  # noqa: E402  # as above
import sys  # noqa: E402  # as above
import traceback  # noqa: E402  # as above
from collections.abc import Iterator  # noqa: E402  # as above
from contextlib import contextmanager  # noqa: E402  # as above
from pathlib import Path  # noqa: E402  # as above
from tempfile import TemporaryDirectory  # noqa: E402  # as above

from tests.rehearsal import steps  # noqa: E402  # as above
from tests.support.interrupts import interrupt_once, uninterrupted  # noqa: E402  # as above


def main() -> int:
    """Run the steps, one line for each; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.rehearsal", description=__doc__)
    parser.add_argument(
        "--keep",
        action="store_true",
        help="deploy, run one job, print one line of JSON and stay up until Ctrl-C",
    )
    keep = parser.parse_args().keep
    interrupt_once()
    interrupted = 130
    try:
        with (
            temporary() as folder,
            steps.rehearsing(folder, steps.FIRST if keep else steps.WHOLE, say) as made,
        ):
            if keep:
                sys.stdout.write(f"{json.dumps(made.rehearsed.description())}\n")
                sys.stdout.flush()
                interrupted = 0
                signal.pause()
    except KeyboardInterrupt:
        return interrupted
    except Exception as error:  # noqa: BLE001  # every failure of a step is told, with MiniStack's log
        traceback.print_exc()
        where = next((note for note in getattr(error, "__notes__", []) if note.startswith("in the step")), "")
        sys.stderr.write(f"\nThe rehearsal failed {where}. The cause stands above MiniStack's log.\n")
        return 1
    return 0


@contextmanager
def temporary() -> Iterator[Path]:
    """Make a folder; remove it in the end, whatever happens. A build and the functions' code are some 500 MB."""
    made = TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True)
    try:
        yield Path(made.name)
    finally:
        with uninterrupted():
            made.cleanup()


def say(step: str, seconds: float, result: str) -> None:
    """Print a step on stderr, because stdout is for programs."""
    sys.stderr.write(f"{step:<20}{seconds:6.1f} s  {result}\n")


if __name__ == "__main__":
    sys.exit(main())

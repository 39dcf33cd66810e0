"""The command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from tests.deployed import updates
from tests.deployed.judge import Judge
from tests.deployed.stack import LOCAL, connect
from tests.deployed.verdict import ProblemError, Report
from tests.localcloud import sample
from tests.support.interrupts import interrupt_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.deployed.stack import Stack

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge a stack, or set what its updates watch; return 0 if all is good."""
    options = options_of(arguments)
    interrupt_once()
    stack = connect(options.stack, options.region)
    if options.watch_updates is not None:
        return _watch_updates(stack, options.watch_updates)
    report = Report(sys.stdout, as_json=options.json)
    with httpx.Client(timeout=30, trust_env=not LOCAL) as http:
        judge = Judge(stack, report, http, sample.photo(), options.token)
        try:
            if not judge.check_ground():
                report.say("\nNothing was spent, because the ground is not good.")
            elif _agreed(judge, report, yes=options.yes):
                judge.run()
            else:
                return report.declined()
        except KeyboardInterrupt:
            report.interrupted(judge.spent())
            return INTERRUPTED
        return report.end(judge.predictions)


def _watch_updates(stack: Stack, minutes: int) -> int:
    try:
        sys.stdout.write(f"{updates.watch(stack, minutes)}\n")
    except (ProblemError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _agreed(judge: Judge, report: Report, *, yes: bool) -> bool:
    report.say(f"\nThe scenarios make temporary users and jobs in {judge.stack.name}, and delete them.")
    report.say(f"They cost {judge.price()}.\n")
    if yes:
        return True
    if not sys.stdin.isatty():
        sys.stderr.write("Add --yes to go on without a terminal.\n")
        return False
    # On stderr, because stdout may be JSON for a program, which then says no price.
    sys.stderr.write(f"The scenarios cost {judge.price()}.\n" if report.as_json else "")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}  # Ctrl-D is no, too


def _token(name: str) -> str:
    try:
        return Path(name).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"the token's file cannot be read: {error}") from error


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command's options; exit with a message if one is wrong."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.deployed",
        description="Judge a deployed stack: its ground, then one job and what must be refused.",
    )
    parser.add_argument("--stack", required=True, metavar="NAME", help="name of the stack")
    parser.add_argument("--region", help="region of the stack; AWS_REGION by default")
    parser.add_argument("--yes", action="store_true", help="do not ask before the scenarios")
    parser.add_argument(
        "--watch-updates",
        type=int,
        choices=range(updates.MOST + 1),
        metavar="MINUTES",
        help="judge nothing; let CloudFormation take back each update after which an alarm goes on within MINUTES",
    )
    parser.add_argument("--json", action="store_true", help="write each line as JSON")
    parser.add_argument(
        "--token",
        action="append",
        default=[],
        type=_token,
        metavar="FILE",
        help="file with a user's token, for a stack with its own JwtIssuer; a second one for another user",
    )
    return parser.parse_args(arguments)

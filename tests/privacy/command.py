"""The command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from tests.deployed.stack import connect
from tests.privacy.owner import Owner, UnfinishedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.privacy.owner import Json

LATER = (
    "Run this command again after 30 minutes: a token that was issued before is valid for so long. "
    "functions/PRIVACY.md says what is gone later, and where.\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export or erase one owner's data; return 0 if that succeeded."""
    given = _options(arguments)
    owner = Owner(connect(given.stack, given.region), given.owner)
    try:
        if given.action == "export":
            count = owner.export(given.to)
            sys.stdout.write(f"{given.to}: owner.json, and {count} pictures\n")
            return 0
        jobs, user = owner.jobs(), owner.user()
        sys.stdout.write(f"{given.owner}: {_user(user)}, {len(jobs)} jobs with their pictures\n")
        if not (given.yes or _agreed()):
            return 1
        sys.stdout.write(f"Erased: {owner.erase()} jobs. {LATER}")
    except (BotoCoreError, ClientError, UnfinishedError, FileExistsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _user(user: Json | None) -> str:
    attributes = {one["Name"]: one["Value"] for one in (user or {}).get("Attributes", [])}
    return (
        f"the user {attributes.get('email', user['Username'])}" if user else "no user in the stack's own pool"
    )


def _agreed() -> bool:
    if not sys.stdin.isatty():
        sys.stderr.write("Nothing was erased. Add --yes to go on without a terminal.\n")
        return False
    sys.stderr.write("Erase all this for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}  # Ctrl-D is no, too


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.privacy", description="Export or erase everything of one owner."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for name, words in (("export", "write it into a folder"), ("erase", "delete it, and the user")):
        action = actions.add_parser(
            name, help=words, description=f"Take everything of one owner, and {words}."
        )
        action.add_argument("--stack", required=True, metavar="NAME", help="name of the stack")
        action.add_argument("--owner", required=True, metavar="SUB", help="the `sub` of the owner's tokens")
        action.add_argument("--region", help="region of the stack; AWS_REGION by default")
        if name == "export":
            action.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="a new folder")
        else:
            action.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(arguments)

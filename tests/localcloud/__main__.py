"""The local cloud's command: `python3 -m tests.localcloud [PHOTO]`, or `… serve`."""

# ruff: noqa: E402, PLC0415  # the environment must exist before its packages are imported; moto starts meanwhile

from tests import environment

environment.ensure("tests.localcloud")

import argparse
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.localcloud import aws


def main() -> int:
    """Run the command and return its exit code."""
    options = _options()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: _end(0 if options.photo == "serve" else 128 + number))
    with ThreadPoolExecutor(1) as starting:
        moto = starting.submit(aws.start)
        try:
            from tests.localcloud import command

            return command.run(
                options.photo,
                overrides=options.parameter_overrides,
                replicate_url=options.replicate_url,
                workers=options.workers,
                port=options.port,
                as_json=options.json,
                moto=moto,
            )
        finally:
            with suppress(RuntimeError):  # moto did not start
                moto.result().stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.localcloud",
        description="Run one photo through the whole system on this machine, or run the system until you stop it.",
    )
    parser.add_argument(
        "photo",
        nargs="?",
        metavar="PHOTO | serve",
        help="the photo to process (default: a sample); serve: run until Ctrl-C",
    )
    parser.add_argument("--port", type=int, default=0, help="the API's port (default: a free one)")
    parser.add_argument(
        "--json", action="store_true", help="with serve: print one line of JSON, for programs"
    )
    parser.add_argument(
        "--parameter-overrides",
        nargs="+",
        action="append",
        metavar="Name=Value",
        help="template parameters, as sam deploy reads them: give the option once, followed by all values; "
        "quote a value with spaces: 'Name=\"a value with spaces\"'",
    )
    parser.add_argument(
        "--replicate-url",
        metavar="URL",
        default=os.environ.get("REPLICATE_BASE_URL") or None,
        help="use this server, which speaks Replicate's API, instead of the stand-in (default: REPLICATE_BASE_URL); "
        "REPLICATE_API_TOKEN is its token",
    )
    parser.add_argument(
        "--workers", type=int, default=4, metavar="N", help="processes of each function, at most (default: 4)"
    )
    options = parser.parse_args()
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    if not 0 <= options.port <= 65535:
        parser.error("--port must be between 0 and 65535")
    given = options.parameter_overrides or [[]]
    if len(given) > 1:
        parser.error(
            "--parameter-overrides: give it once, followed by all values; sam deploy reads only the last one"
        )
    (options.parameter_overrides,) = given
    if options.json and options.photo != "serve":
        parser.error("--json needs serve")
    return options


def _end(code: int) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # a second signal would interrupt the clean-up of a second or two
    sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())

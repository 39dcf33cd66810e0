"""The local cloud's command: `python3 -m tests.localcloud [PHOTO]`, or `… serve`."""

# ruff: noqa: E402, PLC0415  # the environment comes before what is in it; moto starts while this imports

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
    """Run the command; what it returns is the exit code."""
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
            with suppress(RuntimeError):  # it did not come up
                moto.result().stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.localcloud",
        description="One photo through the whole system on this machine; or, with serve, the system itself.",
    )
    parser.add_argument(
        "photo", nargs="?", metavar="PHOTO | serve", help="a photo, or a sample if there is none; or stay up"
    )
    parser.add_argument("--port", type=int, default=0, help="of the API (default: a free one)")
    parser.add_argument(
        "--json", action="store_true", help="with serve: one line, for programs that drive it"
    )
    parser.add_argument(
        "--parameter-overrides",
        nargs="+",
        action="append",
        metavar="Name=Value",
        help="as sam deploy reads them: once, with all values behind it; 'Name=\"a value with spaces\"'",
    )
    parser.add_argument(
        "--replicate-url",
        metavar="URL",
        default=os.environ.get("REPLICATE_BASE_URL") or None,
        help="a server that speaks Replicate's API, instead of the stand-in (also REPLICATE_BASE_URL; "
        "its token is REPLICATE_API_TOKEN)",
    )
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="for each function (default 4)")
    options = parser.parse_args()
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    if not 0 <= options.port <= 65535:
        parser.error("--port must be between 0 and 65535")
    given = options.parameter_overrides or [[]]
    if len(given) > 1:
        parser.error(
            "--parameter-overrides: give it once, with all values behind it; sam deploy reads the last alone"
        )
    (options.parameter_overrides,) = given
    if options.json and options.photo != "serve":
        parser.error("--json goes with serve")
    return options


def _end(code: int) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # ending is not to be interrupted; it takes a second or two
    sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())

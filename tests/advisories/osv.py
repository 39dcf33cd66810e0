"""Ask osv.dev for the advisories on the locked packages."""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.environment import ROOT
from tests.locks import IMAGING, LOCKS, RUN_TIME

URL = "https://api.osv.dev/v1/querybatch"
SECONDS = 20
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)
SHIPPED = (RUN_TIME, IMAGING)
# Advisory → why it does not concern the functions.
ACCEPTED: dict[str, str] = {}

type Pin = tuple[str, str]  # name and version
type Ask = Callable[[bytes], bytes]


def pins(locks: Iterable[Path]) -> list[Pin]:
    """Return every pin of the locks, each once."""
    return sorted({found for lock in locks for found in PIN.findall((ROOT / lock).read_text())})


def ask_osv(body: bytes) -> bytes:
    request = urllib.request.Request(URL, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return bytes(answer.read())


def advisories(wanted: Sequence[Pin], ask: Ask) -> dict[Pin, list[str]]:
    """Return the ids of the advisories for each pin that has some.

    Raises:
        OSError: osv.dev does not answer.
        ValueError: Its answer cannot be read.
    """
    queries = [
        {"package": {"ecosystem": "PyPI", "name": name}, "version": version} for name, version in wanted
    ]
    results = json.loads(ask(json.dumps({"queries": queries}).encode()))["results"]
    found = {
        pin: [str(one["id"]) for one in result.get("vulns", []) if one["id"] not in ACCEPTED]
        for pin, result in zip(wanted, results, strict=True)
    }
    return {pin: ids for pin, ids in found.items() if ids}


def main(ask: Ask = ask_osv) -> int:
    shipped, tools = pins(SHIPPED), pins(LOCKS)
    try:
        found = advisories(tools, ask)
    except (OSError, ValueError, KeyError) as error:
        sys.stdout.write(
            f"skipped: osv.dev cannot be asked ({type(error).__name__}), so nothing was checked\n"
        )
        return 0
    for (name, version), ids in found.items():
        where = "functions" if (name, version) in shipped else "tools"
        sys.stdout.write(
            f"{name} {version} ({where}): {', '.join(f'https://osv.dev/{one}' for one in ids)}\n"
        )
    concerned = [pin for pin in found if pin in shipped]
    sys.stdout.write(
        f"{len(tools)} packages, {len(found)} with advisories, {len(concerned)} of them in functions\n"
    )
    return 1 if concerned else 0

"""The peak memory of `webhook` while it copies an output of 1 MB and one of the largest allowed size.

Each copy runs in its own process, under Amazon's client. The benchmark `photo` measures the memory of `generate`.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks._report import Figure
from tests.benchmarks._world import World, world
from tests.localcloud.functions import Functions

if TYPE_CHECKING:
    from collections.abc import Iterator

REPETITIONS = 3
SMALL, LARGE = 1_000_000, 209_715_200  # bytes; LARGE is the largest MaxOutputBytes that the template allows


def measure() -> Iterator[Figure]:
    with world(MaxOutputBytes=str(LARGE)) as found:
        small, large = [], []
        for _ in range(REPETITIONS):
            small.append(_peak(found, SMALL))
            large.append(_peak(found, LARGE))
    yield Figure(
        f"webhook, an output of {LARGE / 2**20:.0f} MiB: peak",
        statistics.median(large),
        "MiB",
        "an output of 1 MB",
        statistics.median(small),
        at_most=1.1,
    )


def _peak(found: World, size: int) -> float:
    """Return the peak memory in MiB."""
    webhook = found.function("webhook")
    event = found.webhook(found.asked_job(), size)
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        machines = {"webhook": found.machine}
        with Functions({"webhook": webhook}, machines, workers=1, log=Path(log.name)) as functions:
            result = functions.invoke("webhook", json.dumps(event).encode())
            (pid,) = functions.pids()["webhook"]
            status = Path(f"/proc/{pid}/status").read_text()
        if json.loads(result.payload).get("statusCode") != 200:
            raise RuntimeError(Path(log.name).read_text())
    held = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(held[1]) / 1024 if held else 0.0

"""What a handler has printed: its metrics, as CloudWatch reads them out of the log, and its log lines."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any


def metrics_in(printed: str) -> dict[str, list[float]]:
    """The values of each metric, in the order in which they were printed; `STACK` is the one dimension of all."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in _objects(printed):
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", ()):
            assert (directive["Namespace"], directive["Dimensions"]) == ("Triptych", [["Stack"]])
            assert line["Stack"]
            for metric in directive["Metrics"]:
                found[metric["Name"]] += line[metric["Name"]]
    return dict(found)


def totals(printed: str) -> dict[str, float]:
    """The sum of each metric, but for those that are a time."""
    return {
        name: sum(values) for name, values in metrics_in(printed).items() if not name.startswith("Seconds")
    }


def lines_in(printed: str) -> list[dict[str, Any]]:
    """The log lines."""
    return [line for line in _objects(printed) if "_aws" not in line]


def _objects(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]

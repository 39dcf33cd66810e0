"""Reads what a handler printed: the metrics, as CloudWatch extracts them, and the log lines."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any


def metrics_in(printed: str) -> dict[str, list[float]]:
    """Return the values of each metric, in printed order. `Stack` is the only dimension."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in _objects(printed):
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", ()):
            assert (directive["Namespace"], directive["Dimensions"]) == ("Triptych", [["Stack"]])
            assert line["Stack"]
            for metric in directive["Metrics"]:
                found[metric["Name"]] += line[metric["Name"]]
    return dict(found)


def totals(printed: str) -> dict[str, float]:
    """Return the sum of each metric, except for durations."""
    return {
        name: sum(values) for name, values in metrics_in(printed).items() if not name.startswith("Seconds")
    }


def lines_in(printed: str) -> list[dict[str, Any]]:
    """Return the log lines."""
    return [line for line in _objects(printed) if "_aws" not in line]


def _objects(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]

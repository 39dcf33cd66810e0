"""A list that lags for minutes behind predictions in doubt, and also behind another one of the same job.

The layer allows 90 s for creation and list together. It allows more if the list lacks a prediction that it knows and that
is not younger than the one in doubt, so only then the list lags for so long.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx

from tests.simulation.situations import Situation
from triptych.flows.doubts import SAME_TIME

if TYPE_CHECKING:
    from tests.simulation.cloud import Cloud

LONG_SECONDS = 250.0  # the layer allows 300 s


class Lag:
    """The doubts behind which the list lags."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lags: dict[tuple[str, float], bool] = {}  # by job and the time of the POSTs

    def cut(self, answer: httpx.Response, job_id: str) -> httpx.Response:
        """Return a page of the list, read for this job, without the rows that the list lacks."""
        cloud = self._cloud
        since = self._since(job_id) if "list_lags_long" in cloud.faults.rates and answer.is_success else None
        if since is None:
            return answer
        page = answer.json()
        rows = [row for row in page["results"] if datetime.fromisoformat(row["created_at"]) < since]
        if len(rows) < len(page["results"]):
            cloud.faults.struck(Situation.LIST_LAGGED_LONG)
        return httpx.Response(200, content=json.dumps({**page, "results": rows}))

    def _since(self, job_id: str) -> datetime | None:
        """Return from when on the list lacks every prediction, None if it lacks none."""
        cloud, now = self._cloud, self._cloud.engine.now
        record = cloud.checks.records.get(job_id)
        images = record.images if record else ()
        doubts = [image.asked_at for image in images if image.status == "REQUESTING" and image.asked_at]
        known = [image.asked_at for image in images if image.prediction_id and image.asked_at]
        if not doubts:
            return None
        since = min(doubts)
        at = cloud.seconds(since)
        shown = all(any(since - SAME_TIME < one < doubt + SAME_TIME for one in known) for doubt in doubts)
        if not shown or now >= at + LONG_SECONDS:
            return None
        if (job_id, at) not in self._lags:
            self._lags[job_id, at] = cloud.faults.happens("list_lags_long", now)
        if not self._lags[job_id, at]:
            return None
        cloud.checks.hinder(job_id, at + LONG_SECONDS)
        return since - SAME_TIME + timedelta(seconds=cloud.faults.skew)

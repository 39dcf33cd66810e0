"""A busy account at Replicate: its list of predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.support.world import World
from triptych.replicate.tags import Tag

PAGE = 100
BUSY = timedelta(seconds=0.1)  # between two predictions at 600 a minute


@dataclass
class Account:
    """An account whose other users create a prediction every `every`. It honours the bounds of a list, and pages."""

    world: World
    every: timedelta = BUSY
    since: timedelta = timedelta(minutes=30)
    lag: timedelta = timedelta()
    seconds_per_page: float = 0.0
    own: list[dict[str, Any]] = field(default_factory=list)
    requests: list[httpx.URL] = field(default_factory=list)

    def add(self, tag: Tag, prediction_id: str, created_at: datetime) -> None:
        url = f"https://s3/photo?response-content-disposition=inline;filename%3D%22{tag.file_name}%22"
        row = {"id": prediction_id, "input": {"input_image": url}, "created_at": created_at.isoformat()}
        self.own.append(row)

    def answer(self, request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/v1/predictions":
            return None
        self.requests.append(request.url)
        now = self.world.clock.time - self.lag
        params = request.url.params
        after = max(datetime.fromisoformat(params["created_after"]), now - self.since)
        before = min(datetime.fromisoformat(params["created_before"]), now)
        rows = sorted(self._rows(after, before), key=lambda row: row["created_at"], reverse=True)
        skip = int(params.get("skip", 0))
        following = f"/v1/predictions?{params.set('skip', skip + PAGE)}" if len(rows) > skip + PAGE else None
        return httpx.Response(200, json={"results": rows[skip : skip + PAGE], "next": following})

    def _rows(self, after: datetime, before: datetime) -> Iterator[dict[str, Any]]:
        yield from (row for row in self.own if after <= datetime.fromisoformat(row["created_at"]) < before)
        number = -(-(after - EPOCH) // self.every)
        while (created_at := EPOCH + number * self.every) < before:
            yield {"id": f"other{number}", "input": {}, "created_at": created_at.isoformat()}
            number += 1


EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

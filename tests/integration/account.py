"""A busy account at Replicate: its list of predictions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx

from tests.support.world import World
from triptych.replicate.tags import Tag

BUSY = timedelta(seconds=0.1)  # between two predictions at 600 a minute


@dataclass
class Account:
    """An account whose other users create a prediction every `every`, and whose list lags."""

    world: World
    every: timedelta = BUSY
    lag: timedelta = timedelta()

    def __post_init__(self) -> None:
        self.set(every=self.every, lag=self.lag)

    def set(self, *, every: timedelta = BUSY, lag: timedelta = timedelta()) -> None:
        account = self.world.replicate.account
        account.busy_every = every // timedelta(microseconds=1) * 1000
        account.lag = lag.total_seconds()

    @property
    def requests(self) -> list[httpx.URL]:
        """The requests for pages of the list."""
        asked = self.world.replicate.requests
        return [one.url for one in asked if (one.method, one.url.path) == ("GET", "/v1/predictions")]

    def add(self, tag: Tag, prediction_id: str, created_at: datetime) -> None:
        url = f"https://s3/photo?response-content-disposition=inline;filename%3D%22{tag.file_name}%22"
        self.world.replicate.add(prediction_id, {"input_image": url}, created_at)

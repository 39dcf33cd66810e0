"""The answers of Replicate's API by its OpenAPI schema (1.0.0-a1): which fields are required, and which can be null.

The source is `schemas_prediction_response` and `predictions.list` in https://api.replicate.com/openapi.json, as copied
on 2026-04-09 to src/libs/Replicate/openapi.json in https://github.com/tryAGI/Replicate. It was compared with
https://github.com/replicate/replicate-python-beta/blob/main/src/replicate/types/prediction.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, HttpUrl, JsonValue

ABSENT = datetime(1, 1, 1, tzinfo=UTC)  # in the schema these fields are optional but not nullable


class Urls(BaseModel):
    """The field `urls` of a prediction."""

    model_config = ConfigDict(extra="forbid", strict=True)

    get: HttpUrl
    cancel: HttpUrl
    web: HttpUrl
    stream: HttpUrl | None = None


class Metrics(BaseModel):
    """The field `metrics` of a prediction. Other properties are allowed."""

    model_config = ConfigDict(extra="allow", strict=True)

    total_time: float = 0


class Prediction(BaseModel):
    """A prediction in an answer, in a list and in a webhook."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    model: str
    version: str
    input: dict[str, JsonValue]
    output: JsonValue
    data_removed: bool
    error: str | None
    status: Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"]
    created_at: AwareDatetime
    urls: Urls

    completed_at: AwareDatetime = ABSENT
    deadline: AwareDatetime = ABSENT
    deployment: str = ""
    logs: str = ""
    metrics: Metrics = Metrics()
    source: Literal["api", "web"] = "api"
    started_at: AwareDatetime = ABSENT

    # Not in the schema, but seen in real webhooks and rows.
    webhook: str = ""
    webhook_events_filter: list[str] = []


class Page(BaseModel):
    """A page of the list of predictions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    next: HttpUrl | None
    previous: HttpUrl | None
    results: list[Prediction]

"""The answers of Replicate's API, as its OpenAPI schema (1.0.0-a1) says: what is required, what may be null.

https://api.replicate.com/openapi.json, `schemas_prediction_response` and `predictions.list`; read in the copy of
2026-04-09 that https://github.com/tryAGI/Replicate keeps in src/libs/Replicate/openapi.json, and compared with
https://github.com/replicate/replicate-python-beta/blob/main/src/replicate/types/prediction.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, HttpUrl, JsonValue

ABSENT = datetime(1, 1, 1, tzinfo=UTC)  # the schema lets these be left out, but not be null


class Urls(BaseModel):
    """`urls` of a prediction."""

    model_config = ConfigDict(extra="forbid", strict=True)

    get: HttpUrl
    cancel: HttpUrl
    web: HttpUrl
    stream: HttpUrl | None = None


class Metrics(BaseModel):
    """`metrics` of a prediction: other properties are allowed."""

    model_config = ConfigDict(extra="allow", strict=True)

    total_time: float = 0


class Prediction(BaseModel):
    """A prediction, in an answer, in a list, and as the body of a webhook."""

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

    # Not in the schema: real webhooks and rows were seen to echo them.
    webhook: str = ""
    webhook_events_filter: list[str] = []


class Page(BaseModel):
    """A page of the list of predictions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    next: HttpUrl | None
    previous: HttpUrl | None
    results: list[Prediction]

"""The answers of Replicate's API to what it refuses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

if TYPE_CHECKING:
    from collections.abc import Collection

Json = dict[str, JsonValue]
Hint = Literal["body", "header", "ratelimit"]

NOT_FOUND: Json = {"detail": "The requested resource could not be found.", "status": 404}
UNAUTHENTICATED: Json = {
    "title": "Unauthenticated",
    "detail": "You did not pass a valid authentication token",
    "status": 401,
}


class RefusedError(Exception):
    """The API refuses a request; holds the answer."""

    def __init__(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        super().__init__(str(body.get("detail") or body.get("title")))
        self.status = status
        self.body = body
        self.headers = headers or {}


def invalid(*problems: tuple[str, str]) -> RefusedError:
    """Return a 422 for pairs of a field and its problem."""
    return RefusedError(
        422,
        {
            "title": "Input validation failed",
            "detail": "".join(f"- {name}: {problem}\n" for name, problem in problems),
            "status": 422,
            "invalid_fields": [{"field": name, "description": problem} for name, problem in problems],
        },
    )


def throttled(
    seconds: float, hints: Collection[Hint] = (), retry_after: float | str | None = None
) -> RefusedError:
    """Return a 429. See https://replicate.com/docs/topics/predictions/rate-limits.

    Args:
        seconds: When the limit ends.
        hints: Where the answer says so besides `detail`, the only documented field. `status` and `retry_after` in the
            body and the headers ratelimit-remaining and ratelimit-reset were seen. The header Retry-After is possible.
        retry_after: The value of the hints `body` and `header`, instead of the true one.
    """
    whole = math.ceil(seconds)
    body: Json = {"detail": f"Request was throttled. Your rate limit resets in ~{whole}s."}
    headers: dict[str, str] = {}
    after = whole if retry_after is None else retry_after
    if "body" in hints:
        body |= {"status": 429, "retry_after": after}
    if "header" in hints:
        headers["retry-after"] = str(after)
    if "ratelimit" in hints:
        headers |= ratelimit(0, seconds)
    return RefusedError(429, body, headers)


def ratelimit(left: int, reset: float) -> dict[str, str]:
    return {"ratelimit-remaining": str(left), "ratelimit-reset": str(math.ceil(reset))}

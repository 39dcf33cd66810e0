"""The pages of a list, as a client follows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def pages(call: Callable[..., Any], query: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the jobs of each page. `call` returns the status, the body and perhaps more."""
    cursor = ""
    while cursor is not None:
        page = call("GET", f"/api/v1/jobs?{query}{cursor}")[1]
        yield page["jobs"]
        cursor = page["cursor"] and f"&cursor={page['cursor']}"

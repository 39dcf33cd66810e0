"""S3's CORS headers, from a bucket's rules.

Source: "Using cross-origin resource sharing (CORS)" in the Amazon S3 User Guide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Rule:
    """One CORS rule of a bucket. An origin or a header may hold one `*`."""

    origins: Sequence[str]
    methods: Sequence[str]
    headers: Sequence[str]
    exposed: Sequence[str]
    max_age: str | None  # seconds


def answer(
    rules: Iterable[Rule], origin: str, method: str, asked: str | None = None
) -> dict[str, str] | None:
    """Return the headers of the first matching rule, or None if no rule matches.

    Args:
        rules: The bucket's rules, in order.
        origin: The request's origin.
        method: The method of the request, or the one that a preflight announces.
        asked: A preflight's Access-Control-Request-Headers.
    """
    requested = [name.strip().lower() for name in (asked or "").split(",") if name.strip()]
    for rule in rules:
        pattern = next((one for one in rule.origins if _matches(one, origin)), None)
        if pattern is None or method not in rule.methods:
            continue
        if not all(any(_matches(one.lower(), name) for one in rule.headers) for name in requested):
            continue
        headers = {
            "Access-Control-Allow-Origin": "*" if pattern == "*" else origin,
            "Access-Control-Allow-Methods": ", ".join(rule.methods),
            "Access-Control-Allow-Headers": ", ".join(requested),
            "Access-Control-Expose-Headers": ", ".join(rule.exposed),
            "Access-Control-Max-Age": rule.max_age or "",
            "Access-Control-Allow-Credentials": "" if pattern == "*" else "true",
            "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
        }
        return {name: value for name, value in headers.items() if value}
    return None


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value) is not None

"""The answers that S3 gives to browsers, from a bucket's CORS rules.

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
    """One rule of a bucket; an origin or a header may hold one `*`."""

    origins: Sequence[str]
    methods: Sequence[str]
    headers: Sequence[str]
    exposed: Sequence[str]
    max_age: str | None  # seconds


def answer(
    rules: Iterable[Rule], origin: str, method: str, asked: str | None = None
) -> dict[str, str] | None:
    """The headers that the first matching rule gives, or None when there is no such rule.

    `asked` is a preflight's Access-Control-Request-Headers.
    """
    wanted = [name.strip().lower() for name in (asked or "").split(",") if name.strip()]
    for rule in rules:
        pattern = next((one for one in rule.origins if _matches(one, origin)), None)
        if pattern is None or method not in rule.methods:
            continue
        if not all(any(_matches(one.lower(), name) for one in rule.headers) for name in wanted):
            continue
        headers = {
            "Access-Control-Allow-Origin": "*" if pattern == "*" else origin,
            "Access-Control-Allow-Methods": ", ".join(rule.methods),
            "Access-Control-Allow-Headers": ", ".join(wanted),
            "Access-Control-Expose-Headers": ", ".join(rule.exposed),
            "Access-Control-Max-Age": rule.max_age or "",
            "Access-Control-Allow-Credentials": "" if pattern == "*" else "true",
            "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
        }
        return {name: value for name, value in headers.items() if value}
    return None


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value) is not None

"""The headers of every HTTP answer of the API. They keep a browser from showing, framing or guessing at JSON."""

from __future__ import annotations

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",  # requests with CORS are exempt from it
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",  # s, two years
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def secured(answer: dict[str, object]) -> dict[str, object]:
    """Return a function's answer with HEADERS. A header that the answer sets itself stays."""
    given = answer.get("headers")
    return {**answer, "headers": {**HEADERS, **(given if isinstance(given, dict) else {})}}

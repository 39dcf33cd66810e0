"""The EventBridge event patterns that the template uses: each name must have one of the listed strings.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import MinLen

# Only lists of strings are allowed, so validation refuses a prefix, a range, `anything-but` and numbers.
type Pattern = Annotated[dict[str, Pattern | Annotated[list[str], MinLen(1)]], MinLen(1)]


def matches(pattern: Pattern, event: object) -> bool:
    """Return whether an event, or a part of one, matches `pattern`."""
    return isinstance(event, dict) and all(
        matches(allowed, event.get(name)) if isinstance(allowed, dict) else event.get(name) in allowed
        for name, allowed in pattern.items()
    )

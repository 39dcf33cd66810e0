"""The part of EventBridge's event patterns that the template uses: every name that is given, with one of its texts.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import MinLen

# A prefix, a range, an `anything-but` or a number would be a map or no text where a list of texts stands: refused.
type Pattern = Annotated[dict[str, Pattern | Annotated[list[str], MinLen(1)]], MinLen(1)]


def matches(pattern: Pattern, event: object) -> bool:
    """Whether an event, or the part of one that `pattern` is about, holds what `pattern` asks for."""
    return isinstance(event, dict) and all(
        matches(wanted, event.get(name)) if isinstance(wanted, dict) else event.get(name) in wanted
        for name, wanted in pattern.items()
    )

"""The EventBridge event patterns that the template uses: each name must have one of the listed strings.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import MinLen

if TYPE_CHECKING:
    from collections.abc import Iterator

# Only lists of strings are allowed, so validation refuses a prefix, a range, `anything-but` and numbers.
type Pattern = Annotated[dict[str, Pattern | Annotated[list[str], MinLen(1)]], MinLen(1)]


def matches(pattern: Pattern, event: object) -> bool:
    """Return whether an event, or a part of one, matches `pattern`.

    A name may be joined: `a.b` is the same as `b` in `a`. An array matches if one of its elements does.
    """
    allowed: dict[str, set[object]] = {}
    for path, value in _leaves(pattern):
        allowed.setdefault(path, set()).add(value)
    found = set(_leaves(event))
    return all(any((path, value) in found for value in values) for path, values in allowed.items())


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Return each value that is no object and no array, with the names that lead to it."""
    match value:
        case dict():
            for name, member in value.items():
                yield from _leaves(member, f"{path}.{name}")
        case list():
            for member in value:
                yield from _leaves(member, path)
        case _:
            yield path, value

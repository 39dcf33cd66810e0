"""The one place that reads the clock, so that a test or a simulation can set it."""

from datetime import UTC, datetime


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)

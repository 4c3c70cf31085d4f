"""The clock as a parameter: code that needs the time receives a function that tells it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present as an aware datetime in UTC."""


def utc_now() -> datetime:
    """Return the present by the machine's clock, an aware datetime in UTC."""
    return datetime.now(UTC)

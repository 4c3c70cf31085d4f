"""Time as a parameter: whoever needs the time is handed a clock."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the present as an aware datetime in UTC."""


def utc_now() -> datetime:
    """Return the machine's present, aware, in UTC: the clock of a real bot."""
    return datetime.now(UTC)

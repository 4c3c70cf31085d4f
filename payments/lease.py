"""How long a call that changes something at a provider takes, and how long its matter is left to one process.

A clock that was set back leaves moments far ahead on record: what lies further ahead than anything is put off is due.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

CALL_SECONDS: Final = 30
"""How long one call that gives money back, or changes a renewal, may take."""
LEASE_SECONDS: Final = 60
"""How long a refund or a renewal is left alone while its call is under way; longer than the time-outs of its calls."""
LEASE_SECONDS_MAX: Final = 180
"""The longest lease, of what takes several calls: no claim lies further ahead, unless the clock was set back."""
AHEAD_MAX: Final = timedelta(hours=2)
"""No attempt is put off for longer: the longest pause is an hour, and up to a half more (payments/events.py)."""

_BEFORE_ALL: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Moment = InstrumentedAttribute[datetime | None]


def is_free(claimed_until: _Moment, now: datetime) -> ColumnElement[bool]:
    """Tell what no process has claimed: never, not any more, or by a clock that was ahead of `now`."""
    is_ahead = claimed_until > now + timedelta(seconds=LEASE_SECONDS_MAX)
    return or_(claimed_until.is_(None), claimed_until <= now, is_ahead)


def is_due(due_at: _Moment, now: datetime) -> ColumnElement[bool]:
    """Tell what is due by `now`, or was put off by a clock that was ahead of it; an index on `due_at` finds it."""
    return and_(due_at > _BEFORE_ALL, or_(due_at <= now, due_at > now + AHEAD_MAX))

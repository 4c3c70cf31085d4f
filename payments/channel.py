"""A channel: the live end of a way to pay (payments/methods.py), over which money goes back, and what is heard of it.

docs/channels.md says how to add one. What every channel promises, tests/payments/test_channels.py asks of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

from payments.methods import Method


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A refund that is on record and now to be brought about: `amount` in the currency's minor unit (Stars: Stars).

    `event_id` is its row's, `charge_id` the provider's. `attempt_key` is the same as long as it is not known what came
    of the attempt, however often and by whatever process it is repeated, and another one after a refusal.
    `may_be_made`: it was tried under this key before.
    """

    event_id: str
    attempt_key: str
    may_be_made: bool
    charge_id: str
    amount: int
    currency: str
    buyer_telegram_id: int


@dataclass(frozen=True, slots=True)
class MadeRefund:
    """A refund as its provider has it, whoever made it: `id` is the provider's, `amount` in the minor unit.

    `row` is the `event_id` that was given with it when it was ordered; None: it was made elsewhere. `is_through`: the
    money has left for the buyer. `failure`: it came back to the seller, and why in the provider's word.
    """

    id: str
    amount: int
    currency: str
    happened_at: datetime
    row: str | None
    is_through: bool
    failure: str | None = None


class Channel(Protocol):
    """What the desk asks of a way to pay. No transaction is open during a call."""

    method: Method

    async def refund(self, order: RefundOrder) -> None:
        """Return when the provider has the refund, now or from an attempt before.

        Raises ChannelAwayError when that is not known, ChannelPauseError, and RefusedByChannelError when it will not:
        of a method that gives back parts, with the refunds of the charge that the provider has.
        """


class Watch(Protocol):
    """The loop over what a channel's provider tells by itself: refunds that were made there, or charges."""

    @property
    def trouble(self) -> str | None:
        """What keeps it from hearing, in words without secrets; None: nothing."""

    async def run(self) -> None:
        """Hear until cancelled. What passes is outlived and shown as `trouble`; a bug ends it, and the desk with it."""


Channels = Mapping[str, Channel]
"""The channels that are open, by the name of their method."""


def by_name(*channels: Channel) -> Channels:
    """Return the channels by the names of their methods."""
    return {channel.method.name: channel for channel in channels}


CALL_SECONDS: Final = 30
"""How long one call that gives money back, or changes a renewal, may take."""
LEASE_SECONDS: Final = 60
"""How long a refund or a renewal is left alone while its call is under way; longer than the time-outs of its calls."""
LEASE_SECONDS_MAX: Final = 180
"""The longest lease, of what takes several calls: no claim lies further ahead, unless the clock was set back."""
AHEAD_MAX: Final = timedelta(hours=2)
"""No attempt is put off for longer: the longest pause is an hour, and up to a half more (payments/audit/events.py)."""

_BEFORE_ALL: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Moment = InstrumentedAttribute[datetime | None]


def is_free(claimed_until: _Moment, now: datetime) -> ColumnElement[bool]:
    """Tell what no process has claimed: never, not any more, or by a clock that was ahead of `now`."""
    is_ahead = claimed_until > now + timedelta(seconds=LEASE_SECONDS_MAX)
    return or_(claimed_until.is_(None), claimed_until <= now, is_ahead)


def is_due(due_at: _Moment, now: datetime) -> ColumnElement[bool]:
    """Tell what is due by `now`, or was put off by a clock that was ahead of it; an index on `due_at` finds it."""
    return and_(due_at > _BEFORE_ALL, or_(due_at <= now, due_at > now + AHEAD_MAX))

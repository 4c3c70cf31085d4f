"""Channel, the interface to a payment provider: refund orders go out, and refunds made there are listed.

A channel is the live end of a payment method (payments/methods.py). docs/channels.md says how to add one, and
tests/payments/test_channels.py tests the promises of every channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from payments.methods import Method


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A refund on record for the provider to make: `amount` in the currency's minor unit (Stars: Stars).

    `event_id` is the id of its row, `charge_id` the provider's. `attempt_key` is the idempotency key: it stays while
    the result of an attempt is unknown, in whatever process, and a refusal ends it. `may_be_made`: an earlier attempt
    had this key.
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
    """A refund in its provider's list, made by anybody: `id` is the provider's, `amount` in the minor unit.

    `row` is the `event_id` that its order carried; None: it was made elsewhere. `is_through`: the money has left for
    the buyer. `failure`: the provider's word for why it returned to the seller.
    """

    id: str
    amount: int
    currency: str
    happened_at: datetime
    row: str | None
    is_through: bool
    failure: str | None = None


class Channel(Protocol):
    """The interface of a payment provider. No transaction is open during a call."""

    method: Method

    async def refund(self, order: RefundOrder) -> None:
        """Have the channel's provider make a refund; return once it has it, from this attempt or an earlier one.

        Raises ChannelAwayError when nobody knows whether it has, ChannelPauseError when it asks for a pause, and
        RefusedByChannelError when it refuses: of a method with partial refunds, with its refunds of the charge.
        """


class Watch(Protocol):
    """The loop over a provider's own news: refunds that were made there, or charges."""

    @property
    def trouble(self) -> str | None:
        """The trouble that keeps the loop over a channel from reading, in words without secrets; None: none."""

    async def run(self) -> None:
        """Read a channel's news until cancelled; an outage shows as `trouble`, a bug ends the loop and the desk."""


Channels = Mapping[str, Channel]
"""The channels that are open, by the name of their method."""


def by_name(*channels: Channel) -> Channels:
    """Return the channels by the names of their methods."""
    return {channel.method.name: channel for channel in channels}


CALL_SECONDS: Final = 30
"""The longest time of one call that makes a refund or changes a renewal."""
LEASE_SECONDS: Final = 60
"""The time for which one process claims a refund or a renewal for its call: longer than the time-outs of its calls.

payments/loop.py takes a claim beyond its LEASE_SECONDS_MAX for that of a clock that was ahead.
"""

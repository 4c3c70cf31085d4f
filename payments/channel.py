"""Channel, the interface to a payment provider: takes the desk's refund orders, and lists the refunds made there.

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

    `event_id` is the id of its row, `charge_id` the provider's. `attempt_key` is the idempotency key: every process
    keeps it while the result of an attempt is unknown, and a refusal ends it. `may_be_made`: an earlier attempt had
    this key.
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

    `row` is the `event_id` that its order carried; None: somebody made it elsewhere. `is_through`: the money has left
    for the buyer. `failure`: the provider's word for why it returned to the seller.
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
        """Have the provider make a refund; return once the provider has it, from this attempt or an earlier one.

        Raises ChannelAwayError when nobody knows whether the provider has it, ChannelPauseError when the provider asks
        for a pause, and RefusedByChannelError when it refuses: of a method with partial refunds, with its refunds of
        the charge.
        """


class Watch(Protocol):
    """The loop that reads a provider's news: refunds and charges made there."""

    @property
    def trouble(self) -> str | None:
        """The trouble that keeps the loop from reading, in words without secrets; None: there is none."""

    async def run(self) -> None:
        """Read the provider's news until cancelled; an outage shows as `trouble`, a bug ends the loop and the desk."""


Channels = Mapping[str, Channel]
"""The channels that are open, by the name of their method."""


def by_name(*channels: Channel) -> Channels:
    """Return the channels by the names of their methods."""
    return {channel.method.name: channel for channel in channels}


CALL_SECONDS: Final = 30
"""The longest time of one call that makes a refund or changes a renewal."""
LEASE_SECONDS: Final = 60
"""The time for which one process claims a refund or a renewal for its call: longer than the time-outs of its calls.

payments/loop.py ignores a claim beyond its LEASE_SECONDS_MAX, because a clock that was ahead has made it.
"""

"""A channel: the live end of a way to pay (payments/methods.py), over which money goes back.

docs/channels.md says how to add one. What every channel promises, tests/payments/test_channels.py asks of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from payments.methods import Method


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A refund that is on record and now to be brought about: `amount` in the currency's minor unit (Stars: Stars).

    `event_id` is its row's, `charge_id` the provider's. `attempt_key` is the same as long as it is not known what came
    of the attempt, also for another process after a crash, and another one for the next attempt.
    """

    event_id: str
    attempt_key: str
    charge_id: str
    amount: int
    currency: str
    buyer_telegram_id: int


class Channel(Protocol):
    """What the desk asks of a way to pay. No transaction is open during a call."""

    method: Method

    async def refund(self, order: RefundOrder) -> None:
        """Return when the provider has the refund, now or from an attempt before.

        Raises ChannelAwayError when that is not known, ChannelPauseError, and RefusedByChannelError when it will not.
        """


Channels = Mapping[str, Channel]
"""The channels that are open, by the name of their method."""


def by_name(*channels: Channel) -> Channels:
    """Return the channels by the names of their methods."""
    return {channel.method.name: channel for channel in channels}

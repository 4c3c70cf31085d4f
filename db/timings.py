"""Every time-out and pause that a running desk is given, in one object that is handed in: tests hand in their own."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Time-outs and pauses, in seconds; the defaults are production's. No setting and no environment changes one."""

    # Payments
    checkout_seconds: float = 3.0
    """How long a decision on a pre-checkout may take: with the recording of the batch in front it is five in all."""
    record_seconds: float = 2.0
    """How long the recording of a batch of updates may take: pre-checkouts of the next batch wait behind it."""

    # Messages
    chat_rest_seconds: float = 1.0
    """From one message in a private chat to the next: Telegram allows one a second (core.telegram.org/bots/faq)."""
    group_rest_seconds: float = 3.0
    """From one message in a group to the next: Telegram allows 20 a minute (core.telegram.org/bots/faq)."""


PRODUCTION: Final = Timings()

"""What can go wrong with money, by its fate.

PaymentError
├── BusinessError             told to the user in words, no alert
│   └── RefundRefusedError    why a refund is not asked for
├── UnrecordableError         an update that bears money and cannot be recorded: kept raw in quarantine, an alert
│   ├── UnreadableMoneyError
│   ├── AnotherServicesRowError
│   └── ContradictionError
├── ChannelError              a call to a channel's provider did not bring about what it was for
│   ├── ChannelAwayError      operational: tried again after a pause that grows
│   ├── ChannelPauseError     operational: the provider names the pause
│   └── RefusedByChannelError final: a person decides
├── LedgerError               Telegram's ledger is not the one that was read before: a person decides
├── CatalogError              no catalog to sell from: the process ends with its text, for the seller (catalog.py)
└── PayloadError              an order that no payload can carry: a bug, or a wrong setting (payload.py)

Operational failures (the database or Telegram is away) are SQLAlchemy's and aiogram's own: counted and retried.
Anything else is a bug: logged with its context, and the row waits.
"""

import enum
from collections.abc import Sequence

from payments.channel import MadeRefund


class PaymentError(Exception):
    """Base of what this package raises on purpose."""

    ends_attempt = False
    """Whether the provider has refused the attempt at a refund, whatever failed after that: nothing comes of it."""


class BusinessError(PaymentError):
    """Bad input from a person; the text for them is the caller's, by the class."""


class RefundRefusal(enum.StrEnum):
    """Why a refund is not asked for."""

    UNKNOWN = "unknown"
    """No charge has this id."""
    ALREADY_REFUNDED = "already_refunded"
    UNDER_WAY = "under_way"
    """Asked for before, and not yet confirmed by its provider."""
    NOT_OURS = "not_ours"
    """Another service wrote the row: its channel refunds it."""


class RefundRefusedError(BusinessError):
    """A refund that is not asked for, with the reason why.

    `asked_by` and `asked_why` are of the refund that stands instead, if another person asked for that or for another
    reason; None: there is none such.
    """

    def __init__(self, refusal: RefundRefusal, asked_by: str | None = None, asked_why: str | None = None) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        self.asked_by = asked_by
        self.asked_why = asked_why


class UnrecordableError(PaymentError):
    """An update bears money, but what it says cannot be recorded; the text says why."""


class UnreadableMoneyError(UnrecordableError):
    """A field is missing, of another type, or no value for the database; the text names it and quotes no value."""


class AnotherServicesRowError(UnrecordableError):
    """The `event_id` is taken by a row of another service."""


class ContradictionError(UnrecordableError):
    """The event is on record with another amount, another currency or another user."""


class ChannelError(PaymentError):
    """A call to a channel's provider did not do what it was for; the text holds no secret."""


class ChannelAwayError(ChannelError):
    """The provider could not be reached, or failed; whether it did what it was asked is not known."""


class ChannelPauseError(ChannelError):
    """The provider asks to be left alone for `seconds`."""

    def __init__(self, seconds: float, words: str) -> None:
        super().__init__(words)
        self.seconds = seconds


class RefusedByChannelError(ChannelError):
    """The provider will not do it; `code` is its own name for why.

    `made` are the refunds that it has of the charge; None: it has not said.
    """

    ends_attempt = True

    def __init__(self, code: str, words: str, made: Sequence[MadeRefund] | None = None) -> None:
        super().__init__(words)
        self.code = code
        self.made = made


class LedgerError(PaymentError):
    """Telegram's ledger is not the one that was read before; the text says so to a person."""

"""The errors of payments, as a tree by what becomes of each.

PaymentError
├── BusinessError             told to the person in words, no alert
│   └── RefundRefusedError    a refund that cannot be requested, and why
├── UnrecordableError         an update that bears money and cannot be recorded: kept raw in quarantine, an alert
│   ├── UnreadableMoneyError
│   ├── AnotherServicesRowError
│   └── ContradictionError
├── ChannelError              a call to a channel's provider failed
│   ├── ChannelAwayError      operational: retried after a growing backoff
│   ├── ChannelPauseError     operational: the provider names the pause
│   └── RefusedByChannelError final: a person decides
├── LedgerError               Telegram's ledger is another one than before: a person decides
├── CatalogError              no catalog to sell from: the process ends with its text, for the seller (catalog.py)
└── PayloadError              an order that no payload can carry: a bug, or a wrong setting (payload.py)

SQLAlchemy and aiogram raise the operational failures (the database or Telegram is away): counted and retried.
Any other error is a bug: logged with its context, and the row waits.
"""

import enum
from collections.abc import Sequence

from payments.channel import MadeRefund


class PaymentError(Exception):
    """The base of the errors that payments raise on purpose."""

    ends_attempt = False
    """True if the provider has refused the attempt at a refund, so that its idempotency key is spent."""


class BusinessError(PaymentError):
    """Bad input from a person; the caller has the words for each class."""


class RefundRefusal(enum.StrEnum):
    """The reasons why a refund cannot be requested."""

    UNKNOWN = "unknown"
    """No charge has this id."""
    ALREADY_REFUNDED = "already_refunded"
    UNDER_WAY = "under_way"
    """A refund was requested before, and its provider has not confirmed it."""
    NOT_OURS = "not_ours"
    """Another service wrote the row, and refunds it."""


class RefundRefusedError(BusinessError):
    """A refund cannot be requested; `refusal` says why.

    `requested_by` and `requested_why` name the request that stands instead, if another person made it or for another
    reason; None: no such request stands.
    """

    def __init__(
        self, refusal: RefundRefusal, requested_by: str | None = None, requested_why: str | None = None
    ) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        self.requested_by = requested_by
        self.requested_why = requested_why


class UnrecordableError(PaymentError):
    """An update bears money and cannot be recorded; the text says why."""


class UnreadableMoneyError(UnrecordableError):
    """A field is missing, of another type, or no value for the database; the text names it and quotes no value."""


class AnotherServicesRowError(UnrecordableError):
    """A row of another service has the `event_id`."""


class ContradictionError(UnrecordableError):
    """The event is on record with another amount, another currency or another user."""


class ChannelError(PaymentError):
    """A call to a channel's provider failed; the text holds no secret."""


class ChannelAwayError(ChannelError):
    """The provider does not answer, or fails; nobody knows whether it made the refund."""


class ChannelPauseError(ChannelError):
    """The provider asks to be left alone for `seconds`."""

    def __init__(self, seconds: float, words: str) -> None:
        super().__init__(words)
        self.seconds = seconds


class RefusedByChannelError(ChannelError):
    """The provider refuses; `code` is its own name for the reason.

    `made` are its refunds of the charge; None: it does not say.
    """

    ends_attempt = True

    def __init__(self, code: str, words: str, made: Sequence[MadeRefund] | None = None) -> None:
        super().__init__(words)
        self.code = code
        self.made = made


class LedgerError(PaymentError):
    """Telegram's ledger is another one than before; the text tells a person how."""

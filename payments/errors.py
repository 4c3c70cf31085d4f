"""The errors of payments, as a tree by what becomes of each.

PaymentError
├── BusinessError             told to the person in words, no alert
│   └── RefundRefusedError    the desk refuses a request for a refund, and says why
├── UnrecordableError         the desk cannot record an update with money: kept raw in quarantine, an alert
│   ├── UnreadableMoneyError
│   ├── AnotherServicesRowError
│   └── ContradictionError
├── ChannelError              a call to a channel's provider failed
│   ├── ChannelAwayError      operational: retried after a growing backoff
│   ├── ChannelPauseError     operational: the provider names the pause
│   └── RefusedByChannelError final: a person decides
├── LedgerError               Telegram's ledger lacks rows that the desk read before: a person decides
├── CatalogError              no catalog to sell from: the process ends with its text, for the seller (catalog_file.py)
└── PayloadError              an order that no payload can carry: a bug, or a wrong setting (payload.py)

SQLAlchemy and aiogram raise the operational failures (the database or Telegram is away): the loops count them and try
again. Any other error is a bug: the desk logs it with its context, and the row waits.
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
    """Reason why the desk refuses a request for a refund."""

    UNKNOWN = "unknown"
    """No charge has this id."""
    ALREADY_REFUNDED = "already_refunded"
    UNDER_WAY = "under_way"
    """An earlier request stands, and the provider has not confirmed its refund."""
    NOT_OURS = "not_ours"
    """Another service wrote the row, and refunds it."""


class RefundRefusedError(BusinessError):
    """The desk refuses a request for a refund; `refusal` says why.

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
    """The desk cannot record an update that bears money; the text says why."""


class UnreadableMoneyError(UnrecordableError):
    """A field of an update is missing, of another type, or unfit for the database; the text names it.

    The text never quotes the field's value.
    """


class AnotherServicesRowError(UnrecordableError):
    """A row of another service has the `event_id`."""


class ContradictionError(UnrecordableError):
    """The event is on record with another amount, another currency or another user."""


class ChannelError(PaymentError):
    """A call to a channel's provider failed; the text holds no secret."""


class ChannelAwayError(ChannelError):
    """The provider does not answer, or fails; nobody knows whether it made the refund."""


class ChannelPauseError(ChannelError):
    """The provider asks for a pause of `seconds`."""

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
    """Telegram's ledger lacks rows that the desk read before; the text says how many."""

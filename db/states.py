"""Values of the tables' columns: states, outcomes, verdicts, payment methods, currency (db/tables.py)."""

import enum
from typing import Final

ORIGIN: Final = "starledger"
"""`stripe_events.origin` of the rows that this program wrote. It reads the rows of others and never changes them."""

TELEGRAM_STARS: Final = "telegram_stars"
"""`stripe_events.payment_method` of payments in Telegram Stars."""

STRIPE: Final = "stripe"
"""`stripe_events.payment_method` of payments by card, ours and other services'."""

STARS_CURRENCY: Final = "XTR"
"""Telegram's currency code for Stars; they have no minor unit (Bot API, sendInvoice)."""

BY_ITSELF: Final = "starledger"
"""`stripe_events.requested_by` of a refund that the desk makes by itself, because no person asked for it."""


class EventStatus(enum.IntEnum):
    """The status of a row in `stripe_events`.

    It moves from PENDING to PROCESSED or FAILED, and from FAILED to PROCESSED.
    """

    PENDING = 0
    PROCESSED = 1
    FAILED = 2


class EventOutcome(enum.StrEnum):
    """The outcome of a row in `stripe_events`: how its event ended. None while it is open."""

    GRANTED = "granted"
    REFUNDED = "refunded"
    FOREIGN = "foreign"
    PARKED = "parked"
    """Waits for an admin."""
    REPLACED = "replaced"
    """A refund that the desk sends no more, because its charge has less left. The remainder has a refund of its own."""
    RETURNED = "returned"
    """A refund that the buyer's bank sent back to the seller."""


class SubscriptionState(enum.StrEnum):
    """The state of a subscription; the first three are Telegram's own words (Bot API, BotSubscriptionUpdated)."""

    ACTIVE = "active"
    CANCELED = "canceled"
    """It will not renew; access stays to the end of the paid time."""
    FAILED = "failed"
    """Telegram could not take the renewal's price."""
    ENDED = "ended"


class Renewal(enum.StrEnum):
    """The wanted state of a subscription's renewal (Bot API, editUserStarSubscription)."""

    CANCELED = "canceled"
    ALLOWED = "allowed"
    """The subscriber may resume the renewal that the bot had cancelled."""


class CheckoutVerdict(enum.StrEnum):
    """The verdict of a row in `checkouts`: the answer to the pre-checkout query.

    Beside these values it may be an obstacle between the payer and the plan (`PurchaseObstacle`).
    All but ACCEPTED decline the query, in words that have the value in their key.
    """

    ACCEPTED = "accepted"
    UNKNOWN_INVOICE = "unknown_invoice"
    """The payload is not ours, or damaged."""
    STALE_INVOICE = "stale_invoice"
    """The invoice is signed under a former token, or for a price or a length that has changed since."""
    TRY_AGAIN = "try_again"
    """The database did not answer in time."""


class Direction(enum.StrEnum):
    """The direction of a row in Telegram's ledger, seen from the bot."""

    IN = "in"
    OUT = "out"

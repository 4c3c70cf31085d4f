"""The states that the columns of the tables hold (db/tables.py), as words and numbers."""

import enum


class EventStatus(enum.IntEnum):
    """The state of an event. It moves from PENDING to PROCESSED or FAILED, and from FAILED to PROCESSED."""

    PENDING = 0
    PROCESSED = 1
    FAILED = 2


class Outcome(enum.StrEnum):
    """What became of an event. None while it is open."""

    GRANTED = "granted"
    REFUNDED = "refunded"
    FOREIGN = "foreign"
    PARKED = "parked"
    """Waits for an admin."""
    REPLACED = "replaced"
    """A refund that will not be made as it is: less is left of its charge. What is left has a refund of its own."""
    RETURNED = "returned"
    """Of the row of a refund that came back to the seller."""


class SubscriptionState(enum.StrEnum):
    """How a subscription stands; the first three are Telegram's own words (Bot API, BotSubscriptionUpdated)."""

    ACTIVE = "active"
    CANCELED = "canceled"
    """It will not renew; access stays to the end of what is paid."""
    FAILED = "failed"
    """The renewal could not be paid."""
    ENDED = "ended"


class Renewal(enum.StrEnum):
    """What is wanted of a subscription's renewal (Bot API, editUserStarSubscription)."""

    CANCELED = "canceled"
    ALLOWED = "allowed"
    """The subscriber may take up again what the bot had cancelled."""


class Direction(enum.StrEnum):
    """Where the Stars of a row of Telegram's ledger went, seen from the bot."""

    IN = "in"
    OUT = "out"

"""What is wanted of a subscription's renewal: on record before it is tried at Telegram (editor.py)."""

import enum
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, or_

from db.tables import Renewal, Subscription, SubscriptionState

RENEWAL_PREFIX: Final = "renewal:"
"""Before a first charge's id where an event's id would stand: in notices, and for taking up again what is stuck."""


UNREAD_PLAN: Final = "?"
"""The plan of a subscription whose payload cannot be read here; no code of a plan is like it."""

RENEWING: Final = frozenset({SubscriptionState.ACTIVE, SubscriptionState.FAILED})
"""The states in which Telegram is going to take the next price, or to try."""


class RenewalReason(enum.StrEnum):
    """Why the renewal is to be another than it is."""

    BUYER = "buyer"
    """The subscriber pressed a button."""
    REFUND = "refund"
    """A charge of it was given back."""
    GIVEN_BACK = "given_back"
    """A charge of it could not be honoured: its payer is told with the money."""
    FOR_LIFE = "for_life"
    """All that it opens is held for life."""
    REPLACED = "replaced"
    """It had failed or was over, and another one opens the same."""


def want(row: Subscription, renewal: Renewal, because: RenewalReason, now: datetime) -> None:
    """Put on record what is wanted, due at once, unless it is on its way already. The caller holds the user's lock.

    Also of one that has ended as far as we know: a renewal of it may still be unheard of.
    """
    if row.due_at is not None and row.renewal_wanted == renewal:
        return
    row.renewal_wanted = renewal
    row.wanted_because = because
    row.due_at = now
    row.attempts = 0
    row.claimed_until = row.error = None


def may_take_more() -> ColumnElement[bool]:
    """Tell the subscriptions for which Telegram may take the next price, those among them that are over for us."""
    return or_(Subscription.state.in_(RENEWING), _may_be_tried())


def is_stuck() -> ColumnElement[bool]:
    """Tell the subscriptions that were to be cancelled, and for which Telegram may go on taking Stars.

    What has ended takes no more once Telegram has given up trying; nor does what could not be taken up again.
    """
    return and_(
        Subscription.error.is_not(None),
        Subscription.due_at.is_(None),
        Subscription.renewal_wanted == Renewal.CANCELED,
        or_(Subscription.state != SubscriptionState.ENDED, _may_be_tried()),
    )


def is_over(row: Subscription) -> bool:
    """Tell whether our own row says that Telegram takes no more for it."""
    if row.state == SubscriptionState.ENDED:
        return row.check_at is None
    return row.state == SubscriptionState.CANCELED


def _may_be_tried() -> ColumnElement[bool]:
    """Tell what has ended for us, by a refund or after a failure, and is looked at again: Telegram may still try it."""
    return and_(Subscription.state == SubscriptionState.ENDED, Subscription.check_at.is_not(None))

"""Wanted renewals of subscriptions, recorded before Telegram is told (payments/subscriptions/editor.py)."""

import enum
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, or_

from db.tables import Renewal, Subscription, SubscriptionState

RENEWAL_PREFIX: Final = "renewal:"
"""Stands before a first charge's id where an event's id would be: in notices, and in the id that /retry takes."""

UNREAD_PLAN: Final = "?"
"""The plan of a subscription whose payload cannot be read here; no plan has this code."""

RENEWING: Final = frozenset({SubscriptionState.ACTIVE, SubscriptionState.FAILED})
"""States of a subscription in which Telegram will take the next price, or try to."""


class RenewalReason(enum.StrEnum):
    """Reason why a renewal is to end or to be allowed again, stored as `wanted_because`."""

    BUYER = "buyer"
    """The subscriber pressed a button."""
    REFUND = "refund"
    """A charge of the subscription was refunded."""
    GIVEN_BACK = "given_back"
    """A charge of the subscription goes back by itself: its payer is told of both at once."""
    FOR_LIFE = "for_life"
    """The subscriber holds for life all that the subscription opens."""
    REPLACED = "replaced"
    """The subscription had failed or was over, and another one opens the same."""


def record_wanted_renewal(row: Subscription, renewal: Renewal, because: RenewalReason, now: datetime) -> None:
    """Record what is wanted of a renewal, due at once, unless it is under way. The caller holds the user's lock.

    An ended subscription is no exception, because Telegram may have renewed it and not told us yet. Any other reason
    takes the place of REPLACED, because that one is withdrawn when the replacement goes back.
    """
    if row.due_at is not None and row.renewal_wanted == renewal:
        if row.wanted_because == RenewalReason.REPLACED:
            row.wanted_because = because
        return
    row.renewal_wanted = renewal
    row.wanted_because = because
    row.due_at = now
    row.attempts = 0
    row.claimed_until = row.error = None


def where_may_take_more() -> ColumnElement[bool]:
    """Return the condition of renewals to come: Telegram may take the next price, even if ended by our rows."""
    return or_(Subscription.state.in_(RENEWING), _where_tried())


def where_stuck() -> ColumnElement[bool]:
    """Return the condition of stuck renewals: not cancelled, so that Telegram may go on taking Stars.

    A subscription that has ended is not stuck once Telegram has given up trying, nor is one that could not be resumed.
    """
    return and_(
        Subscription.error.is_not(None),
        Subscription.due_at.is_(None),
        Subscription.renewal_wanted == Renewal.CANCELED,
        or_(Subscription.state != SubscriptionState.ENDED, _where_tried()),
    )


def is_over(row: Subscription) -> bool:
    """Tell whether a renewal is over: Telegram takes no more for a subscription, by our own row of it."""
    if row.state == SubscriptionState.ENDED:
        return row.check_at is None
    return row.state == SubscriptionState.CANCELED


def _where_tried() -> ColumnElement[bool]:
    """Return the condition of ended subscriptions whose renewal Telegram may try, after a refund or a failure."""
    return and_(Subscription.state == SubscriptionState.ENDED, Subscription.check_at.is_not(None))

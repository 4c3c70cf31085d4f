"""Wanted renewals of subscriptions, recorded before the desk tells Telegram (payments/subscriptions/editor.py)."""

import enum
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, or_

from db.states import Renewal, SubscriptionState
from db.tables import Subscription

RENEWAL_PREFIX: Final = "renewal:"
"""Stands before a first charge's id where an event's id would be: in notices, and in the id that /retry takes."""

UNREAD_PLAN: Final = "?"
"""The plan of a subscription whose payload the desk cannot read; no plan has this code."""

RENEWING: Final = frozenset({SubscriptionState.ACTIVE, SubscriptionState.FAILED})
"""States of a subscription in which Telegram will take the next price, or try to."""


class RenewalReason(enum.StrEnum):
    """Reason why the desk wants a renewal to end or to be possible again, stored as `wanted_because`."""

    BUYER = "buyer"
    """The subscriber pressed a button."""
    REFUND = "refund"
    """A refund gave back a charge of the subscription."""
    GIVEN_BACK = "given_back"
    """The desk gives back a charge of the subscription, and tells its payer of both at once."""
    FOR_LIFE = "for_life"
    """The subscriber holds for life all that the subscription opens."""
    REPLACED = "replaced"
    """The subscription had failed or was over, and another one opens the same."""


def record_wanted_renewal(row: Subscription, renewal: Renewal, because: RenewalReason, now: datetime) -> None:
    """Record the wanted state of a renewal, due at once, unless this change is under way.

    The caller holds the user's lock. An ended subscription is no exception, because Telegram may have renewed it and
    not told us yet. Any other reason takes the place of REPLACED, because the desk withdraws that one when the
    replacement goes back.
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
    """Return the condition of subscriptions whose next price Telegram may take, even if they have ended by our rows."""
    return or_(Subscription.state.in_(RENEWING), _where_tried())


def where_stuck() -> ColumnElement[bool]:
    """Return the condition of stuck renewals: the desk failed to cancel them, so Telegram may go on taking Stars.

    An ended subscription is not stuck once Telegram has given up trying, nor is one that the desk could not resume.
    """
    return and_(
        Subscription.error.is_not(None),
        Subscription.due_at.is_(None),
        Subscription.renewal_wanted == Renewal.CANCELED,
        or_(Subscription.state != SubscriptionState.ENDED, _where_tried()),
    )


def is_over(row: Subscription) -> bool:
    """Tell whether a renewal is over: by our row, Telegram takes no more for the subscription."""
    if row.state == SubscriptionState.ENDED:
        return row.check_at is None
    return row.state == SubscriptionState.CANCELED


def _where_tried() -> ColumnElement[bool]:
    """Return the condition of ended subscriptions whose renewal Telegram may still try, after a refund or a failure."""
    return and_(Subscription.state == SubscriptionState.ENDED, Subscription.check_at.is_not(None))

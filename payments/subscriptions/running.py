"""What running subscriptions open: another one that opens the same may not start under them."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from db.tables import EntitlementGrant, EventStatus, StripeEvent, Subscription, SubscriptionState, User
from payments.effects import BY_ITSELF
from payments.methods import STARS
from payments.subscriptions.chain import PERIOD
from payments.subscriptions.charges import read_chain

A_SECOND: Final = timedelta(seconds=1)
"""Telegram's dates are whole seconds (Bot API, Message: date)."""

_BEFORE_ID: Final = len(STARS.source(""))


async def opened(
    session: AsyncSession,
    user: ColumnElement[bool],
    start: datetime,
    but: frozenset[str] = frozenset(),
    *,
    begun_within: timedelta = PERIOD,
) -> frozenset[str]:
    """Return the types that subscriptions of a user, told by a condition on `users`, open in the period from `start`.

    Charges in `but` count for nothing, nor do those that the desk gives back by itself or that were paid `begun_within`
    of `start` or later, nor a subscription whose renewal has failed: it may be bought anew.
    """
    charge_id = func.substr(EntitlementGrant.source, _BEFORE_ID + 1)
    has_failed = exists().where(
        Subscription.user_id == StripeEvent.customer_id,
        Subscription.payload == StripeEvent.payload,
        Subscription.state == SubscriptionState.FAILED,
    )
    refund = aliased(StripeEvent)
    goes_back = exists().where(refund.refund_of == StripeEvent.event_id, refund.requested_by == BY_ITSELF)
    query = (
        select(EntitlementGrant.entitlement_type)
        .join(User, User.id == EntitlementGrant.user_id)
        .join(StripeEvent, StripeEvent.event_id == charge_id)
        .where(
            user,
            EntitlementGrant.source == STARS.source("") + StripeEvent.event_id,
            EntitlementGrant.revoked_at.is_(None),
            EntitlementGrant.granted_at < start + begun_within,
            EntitlementGrant.ends_at > start,
            StripeEvent.event_id.not_in(but),
            ~has_failed,
            ~goes_back,
        )
    )
    return frozenset(await session.scalars(query))


async def beside(session: AsyncSession, event: StripeEvent) -> frozenset[str]:
    """Return what other subscriptions of the payer open beside the one that a charge starts; a renewal: nothing.

    By the dates of the charges, not by what stands now: the past may be settled anew. The caller holds the user's lock.
    """
    chain = await read_chain(session, event)
    if chain is None or event.webhook_timestamp is None:
        return frozenset()
    # A renewal whose first charge is not known is one all the same.
    if chain.first.id != event.event_id or event.is_first_recurring is False:
        return frozenset()
    own = frozenset(period.charge.id for period in chain.periods)
    # Of two that were granted before they were known to be two, the one that was paid later goes back.
    begun_within = A_SECOND if event.status == EventStatus.PROCESSED else PERIOD
    user = User.id == event.customer_id
    return await opened(session, user, event.webhook_timestamp, but=own, begun_within=begun_within)

"""Reads the charges of a subscription from the audit table, as payments/subscriptions/chain.py takes them."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import ORIGIN, EventStatus, StripeEvent
from entitlements import EntitlementService
from payments.effects import BY_ITSELF
from payments.methods import STARS
from payments.subscriptions.chain import Chain, Charge, divide


async def read_charges(session: AsyncSession, user_id: str, payload: str) -> list[Charge]:
    """Return what is known now of a user's charges on one payload, settled or not."""
    query = select(StripeEvent).where(
        StripeEvent.customer_id == user_id,
        StripeEvent.payload == payload,
        StripeEvent.refund_of.is_(None),
        StripeEvent.origin == ORIGIN,
    )
    events = (await session.scalars(query)).all()
    granted = await EntitlementService(session).unrevoked([STARS.source(event.event_id) for event in events], user_id)
    given_back = await _given_back(session, events)
    return [
        Charge(
            id=event.event_id,
            paid_at=event.webhook_timestamp,
            recorded_at=event.created_at,
            ends_at=event.subscription_expires_at,
            is_first=event.is_first_recurring,
            update_id=event.update_id,
            is_paid=STARS.source(event.event_id) in granted,
            is_given_back=event.event_id in given_back,
        )
        for event in events
        # Always there in a charge of ours that Telegram has told of.
        if event.webhook_timestamp is not None and event.created_at is not None
    ]


async def read_chain(session: AsyncSession, event: StripeEvent) -> Chain | None:
    """Return the subscription that an event would be a charge of, without its changes; None: of none."""
    if event.payload is None:
        return None
    chains = divide(await read_charges(session, event.customer_id, event.payload), ())
    return next((each for each in chains if any(period.charge.id == event.event_id for period in each.periods)), None)


async def _given_back(session: AsyncSession, charges: Sequence[StripeEvent]) -> frozenset[str]:
    """Return the ids of those of a user's charges whose Stars are back, or are on their way by the desk's own doing."""
    by_id = {charge.event_id: charge for charge in charges}
    is_back = or_(
        StripeEvent.webhook_timestamp.is_not(None),
        StripeEvent.status == EventStatus.PROCESSED,
        StripeEvent.requested_by == BY_ITSELF,
    )
    query = select(StripeEvent).where(StripeEvent.refund_of.in_(by_id), StripeEvent.origin == ORIGIN, is_back)
    refunds = [(refund, by_id[refund.refund_of or ""]) for refund in await session.scalars(query)]
    # One that contradicts its charge gives nothing of it back; Stars go back whole.
    return frozenset(
        charge.event_id
        for refund, charge in refunds
        if (refund.customer_id, refund.amount_cents) == (charge.customer_id, charge.amount_cents)
    )

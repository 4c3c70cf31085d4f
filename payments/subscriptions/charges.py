"""Reads the charges of a subscription from the audit table, as payments/subscriptions/chain.py takes them."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import ORIGIN, StripeEvent
from entitlements import EntitlementService
from payments.sources import charge_source
from payments.subscriptions.chain import Charge


async def read_charges(session: AsyncSession, user_id: str, payload: str) -> list[Charge]:
    """Return what is known now of a user's charges on one payload, settled or not."""
    query = select(StripeEvent).where(
        StripeEvent.customer_id == user_id,
        StripeEvent.payload == payload,
        StripeEvent.refund_of.is_(None),
        StripeEvent.origin == ORIGIN,
    )
    events = (await session.scalars(query)).all()
    granted = await EntitlementService(session).unrevoked([charge_source(event.event_id) for event in events])
    return [
        Charge(
            id=event.event_id,
            paid_at=event.webhook_timestamp,
            recorded_at=event.created_at,
            ends_at=event.subscription_expires_at,
            is_first=event.is_first_recurring,
            update_id=event.update_id,
            is_paid=charge_source(event.event_id) in granted,
        )
        for event in events
        # Always there in a charge of ours that Telegram has told of.
        if event.webhook_timestamp is not None and event.created_at is not None
    ]

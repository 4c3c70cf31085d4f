"""Refunds: asked for on record. payments/refund_sender.py sends them, settlement confirms the same row."""

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.tables import ORIGIN, EventStatus, Outcome, StripeEvent, User, new_id
from payments import events
from payments.errors import RefundRefusal, RefundRefusedError
from payments.incoming import refund_id
from payments.methods import METHODS
from payments.notices import Notice, money_facts, owe

REASON_LENGTH_MAX: Final = 200
"""Characters of a refund's reason: the buyer reads it in a message, below the rest."""


async def ask(
    session: AsyncSession,
    charge_id: str,
    *,
    reason: str | None,
    requested_by: str,
    reply_chat_id: int | None,
    now: datetime,
) -> StripeEvent:
    """Put the refund of a charge on record, due at once, with who asked and why; a parked one is taken up again.

    What has gone back in parts is left out of it. `reply_chat_id` is told when it is done. Raises RefundRefusedError.
    """
    charge = await events.lock(session, charge_id)
    if charge is None or charge.refund_of is not None:
        raise RefundRefusedError(RefundRefusal.UNKNOWN)
    if charge.origin != ORIGIN:
        raise RefundRefusedError(RefundRefusal.NOT_OURS)
    refund = await events.refund_of(session, charge_id)
    if refund is None:
        refund = await open_refund(session, charge, reason=reason, requested_by=requested_by, now=now)
    elif refund.outcome == Outcome.PARKED:
        refund.due_at = now
        refund.attempts = 0
    else:
        is_done = refund.outcome == Outcome.REFUNDED or refund.webhook_timestamp is not None
        raise RefundRefusedError(RefundRefusal.ALREADY_REFUNDED if is_done else RefundRefusal.UNDER_WAY)
    if reply_chat_id is not None:
        user = await session.get_one(User, charge.customer_id)
        facts = money_facts(refund) | {"buyer": user.telegram_id}
        await owe(
            session,
            Notice.REFUND_DONE,
            event_id=refund.event_id,
            chat_id=reply_chat_id,
            facts=facts,
            now=now,
            held=True,
        )
    return refund


async def open_refund(
    session: AsyncSession, charge: StripeEvent, *, reason: str | None, requested_by: str, now: datetime
) -> StripeEvent:
    """Write the audit row of a refund that is to be sent. The caller holds the user's lock; one that is there stays.

    Raises RefundRefusedError when all of the charge has gone back in parts.
    """
    event_id = refund_id(charge.event_id)
    method = METHODS[charge.payment_method]
    gone = await _given_back_in_parts(session, charge) if method.gives_back_parts else 0
    if gone >= charge.amount_cents:
        raise RefundRefusedError(RefundRefusal.ALREADY_REFUNDED)
    row = {
        "id": new_id(),
        "event_id": event_id,
        "event_type": method.refund_type,
        "payment_method": method.name,
        "customer_id": charge.customer_id,
        "amount_cents": charge.amount_cents - gone,
        "currency": charge.currency,
        "status": EventStatus.PENDING,
        "created_at": now,
        "origin": ORIGIN,
        "refund_of": charge.event_id,
        "reason": reason,
        "requested_by": requested_by,
        "due_at": now,
    }
    await session.execute(insert_into(session, StripeEvent).on_conflict_do_nothing(index_elements=["event_id"]), row)
    return (await session.scalars(select(StripeEvent).where(StripeEvent.event_id == event_id))).one()


async def _given_back_in_parts(session: AsyncSession, charge: StripeEvent) -> int:
    """Return how much of a charge its provider has given back, in minor units, beside a refund of the rest."""
    parts = await events.refunds_of(session, charge.event_id)
    return sum(part.amount_cents for part in parts if part.event_id != refund_id(charge.event_id))

"""Resolves a refund that its provider refuses, from the provider's list of the charge's refunds."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import StripeEvent
from payments.audit import events, transitions
from payments.audit.balance import is_at_provider, remainder
from payments.channel import MadeRefund
from payments.errors import ChannelAwayError
from payments.notices import Notice, pass_on, release
from payments.refunds.at_provider import find_returned, record_provider_refunds
from payments.refunds.requests import record_refund_request
from payments.settlement.settlement import Settlement

RETURN_ATTEMPTS_MAX: Final = 8
"""Attempts, over ten minutes, that give the reading of events time to say when a refund returned."""


async def resolve_refusal(
    session: AsyncSession,
    settlement: Settlement,
    event_id: str,
    made: Sequence[MadeRefund],
    words: str,
    now: datetime,
) -> StripeEvent | None:
    """Settle a refused refund that the provider has made, or replace it by the remainder; None: neither fits.

    `made` are all refunds of the charge that the provider has; they go on record first. `words` are the refusal's.
    Raises ChannelAwayError while the desk has not read Stripe's event of a returned refund, because its time says
    whether all of the charge was gone. At the last of RETURN_ATTEMPTS_MAX the refund counts as returned now, because
    Stripe may no longer keep its event.
    """
    refund = await events.lock(session, event_id)
    if refund is None or not transitions.is_open(refund):
        return refund
    charge = (await session.scalars(select(StripeEvent).where(StripeEvent.event_id == refund.refund_of))).one()
    is_last = refund.attempts + 1 >= RETURN_ATTEMPTS_MAX
    if not is_last and find_returned(charge, await events.refunds_of(session, charge.event_id), made):
        raise ChannelAwayError("a refund of the charge came back to the seller, and its event was not read yet")
    await record_provider_refunds(session, charge, made, now)
    if is_at_provider(refund):
        await settlement.settle_open(session, refund)
        return refund
    if remainder(charge, await events.refunds_of(session, charge.event_id)) >= refund.amount_cents:
        return None
    await _replace(session, charge, refund, words, now)
    return refund


async def _replace(session: AsyncSession, charge: StripeEvent, refund: StripeEvent, words: str, now: datetime) -> None:
    """Replace a refused refund by a refund of the charge's remainder, if there is any."""
    transitions.replace(refund, words)
    if remainder(charge, await events.refunds_of(session, charge.event_id)) <= 0:
        await release(session, Notice.REFUND_DONE, refund.event_id, now, instead=Notice.NOTHING_LEFT)
        return
    requested_by = refund.requested_by or ""
    rest = await record_refund_request(session, charge, reason=refund.reason, requested_by=requested_by, now=now)
    await pass_on(session, Notice.REFUND_DONE, refund.event_id, rest)

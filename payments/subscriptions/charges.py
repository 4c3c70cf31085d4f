"""Reads subscription charges with their refunds from the audit table, and returns them as chains."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import BY_ITSELF, ORIGIN
from db.tables import StripeEvent
from entitlements import EntitlementService
from payments.audit import subscription_changes
from payments.audit.balance import contradiction, refunded_at, where_at_provider
from payments.methods import STARS
from payments.subscriptions.chain import Chain, Charge
from payments.subscriptions.division import divide_into_chains

_CHARGES: Final = select(StripeEvent).where(
    StripeEvent.customer_id == bindparam("user_id"),
    StripeEvent.payload.in_(bindparam("payloads", expanding=True)),
    StripeEvent.refund_of.is_(None),
    StripeEvent.origin == ORIGIN,
)
_MADE_REFUNDS: Final = select(StripeEvent).where(
    StripeEvent.refund_of.in_(bindparam("charge_ids", expanding=True)),
    StripeEvent.origin == ORIGIN,
    or_(where_at_provider(), StripeEvent.requested_by == BY_ITSELF),
)


async def read_charges(session: AsyncSession, user_id: str, payload: str) -> list[Charge]:
    """Read a user's subscription charges on one payload, settled or not."""
    return (await read_charges_by_payload(session, user_id, [payload]))[payload]


async def read_charges_by_payload(
    session: AsyncSession, user_id: str, payloads: Collection[str]
) -> dict[str, list[Charge]]:
    """Read a user's subscription charges on each of these payloads, settled or not."""
    events = (await session.scalars(_CHARGES, {"user_id": user_id, "payloads": list(payloads)})).all()
    granted = await EntitlementService(session).unrevoked([STARS.source(event.event_id) for event in events], user_id)
    refunds = await _read_made_refunds(session, events)
    found: dict[str, list[Charge]] = {payload: [] for payload in payloads}
    for event in events:
        # All three are there in every charge of ours that Telegram has told of.
        if event.payload is None or event.webhook_timestamp is None or event.created_at is None:
            continue
        back = refunds.get(event.event_id, [])
        charge = Charge(
            id=event.event_id,
            paid_at=event.webhook_timestamp,
            recorded_at=event.created_at,
            ends_at=event.subscription_expires_at,
            is_first=event.is_first_recurring,
            update_id=event.update_id,
            is_paid=STARS.source(event.event_id) in granted,
            is_refunded=bool(back),
            refunded_at=min((at for refund in back if (at := _gone_back_at(refund)) is not None), default=None),
            is_given_back=any(refund.requested_by == BY_ITSELF for refund in back),
        )
        found[event.payload].append(charge)
    return found


async def read_chains(session: AsyncSession, user_id: str, payload: str) -> list[Chain]:
    """Read a user's subscription charges and changes on one payload, as chains by the date of their first charges."""
    told = await subscription_changes.read(session, user_id, [payload])
    return divide_into_chains(await read_charges(session, user_id, payload), told[payload])


async def read_chain_of_event(session: AsyncSession, event: StripeEvent) -> Chain | None:
    """Read the chain of subscription charges to which an audit row belongs; None: it belongs to none."""
    if event.payload is None:
        return None
    chains = await read_chains(session, event.customer_id, event.payload)
    return next((each for each in chains if any(period.charge.id == event.event_id for period in each.periods)), None)


async def _read_made_refunds(session: AsyncSession, charges: Sequence[StripeEvent]) -> dict[str, list[StripeEvent]]:
    """Read, by charge, the refunds that the provider has made or that the desk itself has asked for."""
    by_id = {charge.event_id: charge for charge in charges}
    found: dict[str, list[StripeEvent]] = {}
    for refund in await session.scalars(_MADE_REFUNDS, {"charge_ids": list(by_id)}):
        charge = by_id[refund.refund_of or ""]
        if contradiction(refund, charge) is None:
            found.setdefault(charge.event_id, []).append(refund)
    return found


def _gone_back_at(refund: StripeEvent) -> datetime | None:
    """Return the date of a subscription charge's refund, or of the desk's own request for it.

    The desk's own refund counts while it is under way, and until it is made it has only the date of the request.
    """
    return refunded_at(refund) or refund.created_at

"""Reads a user's running subscriptions and the entitlements they open: no other subscription may start beside them.

One rule (payments/subscriptions/precedence.py) decides which payments checkout declines and which the desk refunds.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import Renewal
from db.tables import EntitlementGrant, StripeEvent, Subscription, User
from payments.audit import subscription_changes
from payments.methods import STARS
from payments.subscriptions.chain import Chain, Charge, charge_order
from payments.subscriptions.charges import read_chain_of_event, read_charges_by_payload
from payments.subscriptions.division import divide_into_chains
from payments.subscriptions.precedence import Rival, runs

_BEFORE_ID: Final = len(STARS.source(""))
_GRANTS: Final = (
    select(EntitlementGrant.user_id, StripeEvent.payload, StripeEvent.event_id, EntitlementGrant.entitlement_type)
    .join(StripeEvent, StripeEvent.event_id == func.substr(EntitlementGrant.source, _BEFORE_ID + 1))
    .where(
        EntitlementGrant.source == STARS.source("") + StripeEvent.event_id,
        EntitlementGrant.ends_at.is_not(None),
        StripeEvent.customer_id == EntitlementGrant.user_id,
        StripeEvent.payload.is_not(None),
    )
)
_GRANTS_OF_USER: Final = _GRANTS.where(EntitlementGrant.user_id == bindparam("user_id"))
_GRANTS_OF_BUYER: Final = _GRANTS.where(
    EntitlementGrant.user_id == select(User.id).where(User.telegram_id == bindparam("telegram_id")).scalar_subquery()
)
_ROWS: Final = select(Subscription).where(Subscription.user_id == bindparam("user_id"))


async def opened(session: AsyncSession, telegram_id: int, at: datetime) -> frozenset[str]:
    """Return the entitlement types that a buyer's running subscriptions open at a moment.

    The result leaves out subscriptions whose renewal has failed, because the buyer may buy them again.
    """
    found = await _read_rivals(session, _GRANTS_OF_BUYER, {"telegram_id": telegram_id})
    return frozenset().union(*(each.opens for each in found if runs(each, at)))


async def beside(session: AsyncSession, event: StripeEvent, *, by_what_is_paid: bool) -> frozenset[str]:
    """Return the entitlement types that running subscriptions open beside a first charge; for a renewal, none.

    Only facts from before the charge count, so that any order of settling has the same result. `by_what_is_paid`
    settles the past again (precedence.py, runs). The caller holds the user's lock.
    """
    chain = await read_chain_of_event(session, event)
    start = None if chain is None else chain.first
    # The first charge on record may be a renewal, if the true first charge is unknown.
    if start is None or start.id != event.event_id or start.is_first is False:
        return frozenset()
    found = await read_rivals(session, event.customer_id)
    others = [each for each in found if start.id not in each.ids]
    return frozenset().union(
        *(each.opens for each in others if runs(each, start.paid_at, start, by_what_is_paid=by_what_is_paid))
    )


async def starts_beside(session: AsyncSession, event: StripeEvent) -> Sequence[str]:
    """List a user's granted first charges that started a subscription beside a running one, the oldest first.

    The list has only charges from this one on, because its news bears on nothing before it. The caller holds the user's
    lock.
    """
    found = await read_rivals(session, event.customer_id)
    later = [
        each.chain.first
        for each in found
        if (event.webhook_timestamp, event.event_id) <= charge_order(each.chain.first)
    ]
    return [
        start.id
        for start in sorted(later, key=charge_order)
        if start.is_paid and start.is_first is not False and not start.is_refunded and _starts_under_rival(start, found)
    ]


async def read_rivals(session: AsyncSession, user_id: str) -> Sequence[Rival]:
    """Read a user's subscriptions that have opened an entitlement."""
    return await _read_rivals(session, _GRANTS_OF_USER, {"user_id": user_id})


async def _read_rivals(
    session: AsyncSession, granted: Select[str, str | None, str, str], whose: Mapping[str, Any]
) -> Sequence[Rival]:
    """Read the subscriptions of the one user whose grants the SELECT `granted` finds."""
    grants = (await session.execute(granted, whose)).all()
    if not grants:
        return ()
    user_id = grants[0].user_id
    payloads = sorted({grant.payload for grant in grants})
    charges = await read_charges_by_payload(session, user_id, payloads)
    told = await subscription_changes.read(session, user_id, payloads)
    rows = (await session.scalars(_ROWS, {"user_id": user_id})).all()
    chains = [chain for payload in payloads for chain in divide_into_chains(charges[payload], told[payload])]
    opens: dict[str, set[str]] = {}
    for grant in grants:
        opens.setdefault(grant.event_id, set()).add(grant.entitlement_type)
    return [_make_rival(chain, opens, rows) for chain in chains]


def _make_rival(chain: Chain, opens: dict[str, set[str]], rows: Sequence[Subscription]) -> Rival:
    """Make a rival of a subscription's chain, with its entitlements and its row."""
    ids = [period.charge.id for period in chain.periods]
    named = {row.first_charge_id: row for row in rows if row.first_charge_id in ids}
    row = next((named[charge_id] for charge_id in ids if charge_id in named), None)
    types = frozenset().union(*(opens.get(charge_id, ()) for charge_id in ids))
    return Rival(chain, types, row, row is not None and row.renewal_wanted == Renewal.CANCELED)


def _starts_under_rival(start: Charge, rivals: Sequence[Rival]) -> bool:
    """Tell whether a first charge came while another subscription with the same entitlement was running."""
    own = next(each for each in rivals if start.id in each.ids)
    return any(each.opens_same(own) and runs(each, start.paid_at, start) for each in rivals)

"""What running subscriptions open: another one that opens the same may not start under them.

One rule (payments/subscriptions/precedence.py) says what is declined before it is paid and what is given back after.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import EntitlementGrant, Renewal, StripeEvent, Subscription, User
from payments.audit import subscription_changes
from payments.methods import STARS
from payments.subscriptions.chain import Chain, Charge, place
from payments.subscriptions.charges import read_all_charges, read_chain
from payments.subscriptions.division import divide
from payments.subscriptions.precedence import Rival, runs

_BEFORE_ID: Final = len(STARS.source(""))


async def opened(
    session: AsyncSession, user: ColumnElement[bool], at: datetime, but: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Return the types that subscriptions of a user, told by a condition on `users`, open while they run at a moment.

    One of which a charge is in `but` counts for nothing, nor does one whose renewal has failed: it may be bought anew.
    """
    found = [each for each in await read_rivals(session, user) if each.ids.isdisjoint(but)]
    return frozenset().union(*(each.opens for each in found if runs(each, at)))


async def beside(session: AsyncSession, event: StripeEvent, *, by_what_is_paid: bool = False) -> frozenset[str]:
    """Return what other subscriptions of the payer open beside the one that a charge starts; a renewal: nothing.

    By what came before the charge, not by what stands now, so that the order of settling does not decide.
    `by_what_is_paid`: the past is settled anew (precedence.py, runs). The caller holds the user's lock.
    """
    chain = await read_chain(session, event)
    start = None if chain is None else chain.first
    # A renewal whose first charge is not known is one all the same.
    if start is None or start.id != event.event_id or start.is_first is False:
        return frozenset()
    found = await read_rivals(session, User.id == event.customer_id)
    others = [each for each in found if start.id not in each.ids]
    return frozenset().union(
        *(each.opens for each in others if runs(each, start.paid_at, start, by_what_is_paid=by_what_is_paid))
    )


async def starts_beside(session: AsyncSession, event: StripeEvent) -> Sequence[str]:
    """Return the ids of a payer's granted charges that started under a subscription which ran, the oldest first.

    Only of charges not older than this one: what is learned by it can change nothing before it. The caller holds the
    user's lock.
    """
    found = await read_rivals(session, User.id == event.customer_id)
    later = [each.chain.first for each in found if (event.webhook_timestamp, event.event_id) <= place(each.chain.first)]
    return [
        start.id
        for start in sorted(later, key=place)
        if start.is_paid and start.is_first is not False and not start.is_given_back and _is_under_another(start, found)
    ]


async def read_rivals(session: AsyncSession, user: ColumnElement[bool]) -> Sequence[Rival]:
    """Return the subscriptions of a user, told by a condition on `users`, that have opened something."""
    charge_id = func.substr(EntitlementGrant.source, _BEFORE_ID + 1)
    granted = (
        select(EntitlementGrant.user_id, StripeEvent.payload, StripeEvent.event_id, EntitlementGrant.entitlement_type)
        .join(User, User.id == EntitlementGrant.user_id)
        .join(StripeEvent, StripeEvent.event_id == charge_id)
        .where(
            user,
            EntitlementGrant.source == STARS.source("") + StripeEvent.event_id,
            EntitlementGrant.ends_at.is_not(None),
            StripeEvent.customer_id == EntitlementGrant.user_id,
            StripeEvent.payload.is_not(None),
        )
    )
    grants = (await session.execute(granted)).all()
    if not grants:
        return ()
    user_id = grants[0].user_id
    payloads = sorted({grant.payload for grant in grants})
    charges = await read_all_charges(session, user_id, payloads)
    told = await subscription_changes.read(session, user_id, payloads)
    rows = (await session.scalars(select(Subscription).where(Subscription.user_id == user_id))).all()
    chains = [chain for payload in payloads for chain in divide(charges[payload], told[payload])]
    opens: dict[str, set[str]] = {}
    for grant in grants:
        opens.setdefault(grant.event_id, set()).add(grant.entitlement_type)
    return [_rival(chain, opens, rows) for chain in chains]


def _rival(chain: Chain, opens: dict[str, set[str]], rows: Sequence[Subscription]) -> Rival:
    ids = [period.charge.id for period in chain.periods]
    named = {row.first_charge_id: row for row in rows if row.first_charge_id in ids}
    row = next((named[charge_id] for charge_id in ids if charge_id in named), None)
    types = frozenset().union(*(opens.get(charge_id, ()) for charge_id in ids))
    return Rival(chain, types, row, row is not None and row.renewal_wanted == Renewal.CANCELED)


def _is_under_another(start: Charge, rivals: Sequence[Rival]) -> bool:
    own = next(each for each in rivals if start.id in each.ids)
    return any(each.opens_same(own) and runs(each, start.paid_at, start) for each in rivals)

"""Record of all terms that the catalog has offered: exposes orders that a thief signed with a leaked token.

Anybody with a leaked token can sign any order, so the desk honours an order under a former token only on terms that the
catalog has, or once had.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.states import STARS_CURRENCY
from db.tables import OfferedTerms
from payments.sale.catalog import Catalog
from payments.sale.payload import Order, PayloadVerdict, ReadPayload, term_of


async def record_offered_terms(session: AsyncSession, catalog: Catalog, now: datetime) -> None:
    """Record the terms of every plan in the catalog, retired plans among them; recorded terms stay as they are."""
    rows = [
        {
            "plan": plan.code,
            "term": term_of(plan.days, subscription=plan.subscription),
            "currency": currency,
            "amount": amount,
            "first_offered_at": now,
        }
        for plan in catalog.plans.values()
        for currency, amount in ((STARS_CURRENCY, plan.price_stars), *plan.prices.items())
    ]
    if rows:
        await session.execute(insert_into(session, OfferedTerms).on_conflict_do_nothing(), rows)


def needs_no_proof_of_offer(reading: ReadPayload, catalog: Catalog) -> bool:
    """Tell whether an order needs no proof that the catalog ever offered its terms.

    An order under the token in use needs none. An order under a former token needs terms that its plan has, retired or
    not, because somebody else may have had that token.
    """
    order = reading.order
    if order is None or reading.verdict is not PayloadVerdict.OLD or reading.is_vouched:
        return True
    plan = catalog.get(order.plan)
    return plan is None or plan.offers(order)


async def was_offered(session: AsyncSession, order: Order) -> bool:
    """Tell whether the catalog ever offered the terms of an order while a desk ran on this database."""
    query = select(OfferedTerms.plan).where(
        OfferedTerms.plan == order.plan,
        OfferedTerms.term == term_of(order.days, subscription=order.subscription),
        OfferedTerms.currency == order.currency,
        OfferedTerms.amount == order.amount,
    )
    return await session.scalar(query) is not None

"""What the catalog has offered, on record: terms that tell an order of a former token that was never made here.

A token that has leaked signs whatever its finder likes, so an order under it is honoured on terms that the catalog has,
or once had.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.tables import STARS_CURRENCY, OfferedTerms
from payments.sale.catalog import Catalog
from payments.sale.payload import Order, term_of


async def note_offered(session: AsyncSession, catalog: Catalog, now: datetime) -> None:
    """Put the terms of every plan on record, those that are retired too; what is there stays."""
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


async def was_offered(session: AsyncSession, order: Order) -> bool:
    """Tell whether the catalog has had the terms of an order while a desk ran on this database."""
    query = select(OfferedTerms.plan).where(
        OfferedTerms.plan == order.plan,
        OfferedTerms.term == term_of(order.days, subscription=order.subscription),
        OfferedTerms.currency == order.currency,
        OfferedTerms.amount == order.amount,
    )
    return await session.scalar(query) is not None

"""Which plans were ever sold: a plan once sold stays in the catalog, or its renewals and refunds cannot be judged."""

from collections import Counter
from typing import Final

from sqlalchemy import select

from db.engine import Database
from db.tables import ORIGIN, Outcome, StripeEvent
from payments.payload import PayloadSigner

BATCH: Final = 5_000


async def plans_sold(database: Database, signer: PayloadSigner) -> Counter[str]:
    """Count the charges that were granted by the code of their plan, in short reads."""
    sold: Counter[str] = Counter()
    # What was granted was proved once; the token that it was signed under may be gone.
    trusting = signer.trusting()
    last = ""
    while True:
        query = (
            select(StripeEvent.id, StripeEvent.payload)
            .where(StripeEvent.id > last, StripeEvent.origin == ORIGIN, StripeEvent.outcome == Outcome.GRANTED)
            .order_by(StripeEvent.id)
            .limit(BATCH)
        )
        async with database.reading() as session:
            rows = (await session.execute(query)).all()
        orders = [trusting.read(payload or "").order for _, payload in rows]
        sold.update(order.plan for order in orders if order is not None)
        if len(rows) < BATCH:
            return sold
        last = rows[-1][0]

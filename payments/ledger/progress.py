"""The progress of reading Telegram's ledger (`ledger_reading`), and the mark that a whole pass is wanted first.

Functions take the caller's session and never commit. Nothing here imports aiogram.
"""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.tables import ORIGIN, LedgerReading, OutboxMessage, Renewal, StripeEvent, Subscription


async def find(session: AsyncSession) -> LedgerReading | None:
    """Read the ledger's progress row; None: the ledger was never read."""
    return await session.scalar(select(LedgerReading), execution_options={"populate_existing": True})


async def lock(session: AsyncSession) -> LedgerReading:
    """Lock the ledger's progress row until the transaction ends; make the row first if there is none.

    It comes before any user in the lock order.
    """
    await session.execute(insert_into(session, LedgerReading).on_conflict_do_nothing(index_elements=["id"]), {"id": 1})
    query = select(LedgerReading).with_for_update()
    return (await session.scalars(query, execution_options={"populate_existing": True})).one()


async def mark_unfinished(session: AsyncSession, now: datetime, *, trusts_unsigned: bool = False) -> None:
    """Mark in the ledger's progress that a whole pass is wanted before anything is settled; reading begins anew.

    For a copy of the database that may be restored long after, and for a rebuild before its first write. The copy's
    notices and resumed renewals are withdrawn, because they belong to the desk it was made of. A cancellation stays
    wanted: a second one is harmless, and without it Telegram would go on taking Stars.
    """
    reading = await lock(session)
    start_over(reading)
    reading.pass_wanted_at = now
    reading.pass_begun_at = None
    reading.pass_trusts_unsigned = trusts_unsigned
    waits = update(OutboxMessage).where(OutboxMessage.due_at.is_not(None))
    await session.execute(waits.values(due_at=None, error="not told: the ledger is read first"))
    resumed = update(Subscription).where(Subscription.renewal_wanted == Renewal.ALLOWED)
    await session.execute(resumed.where(Subscription.due_at.is_not(None)).values(due_at=None))


def begin_pass(reading: LedgerReading, now: datetime) -> bool:
    """Begin in the ledger's progress a wanted whole pass, unless it has begun; tell whether it began.

    Payments that are made or recorded from here on do not belong to the pass.
    """
    if reading.pass_wanted_at is None or reading.pass_begun_at is not None:
        return False
    # Telegram's dates are whole seconds.
    reading.pass_begun_at = now.replace(microsecond=0)
    return True


def start_over(reading: LedgerReading) -> None:
    """Reset the ledger's progress: the next page is the first one."""
    reading.row_count = reading.nanostars = reading.payment_stars = reading.event_stars = 0
    reading.latest = "[]"
    reading.compared_at = reading.balance_off_nanostars = reading.balance_nanostars = None


async def has_events(session: AsyncSession) -> bool:
    """Tell whether there is progress to lose: any payment or refund of ours on record."""
    return await session.scalar(select(StripeEvent.id).where(StripeEvent.origin == ORIGIN).limit(1)) is not None

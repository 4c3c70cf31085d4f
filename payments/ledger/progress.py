"""How far Telegram's ledger has been read, and the mark that says: a whole pass over it is wanted first.

Functions take the caller's session and never commit. None of this imports aiogram.
"""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.tables import ORIGIN, LedgerReading, OutboxMessage, Renewal, StripeEvent, Subscription


async def find(session: AsyncSession) -> LedgerReading | None:
    """Read the row as it is; None: the ledger was never looked at."""
    return await session.scalar(select(LedgerReading), execution_options={"populate_existing": True})


async def lock(session: AsyncSession) -> LedgerReading:
    """Lock the row until the transaction ends, made first if there is none; it is locked before any user."""
    await session.execute(insert_into(session, LedgerReading).on_conflict_do_nothing(index_elements=["id"]), {"id": 1})
    query = select(LedgerReading).with_for_update()
    return (await session.scalars(query, execution_options={"populate_existing": True})).one()


async def mark_unfinished(session: AsyncSession, now: datetime, *, trusts_unsigned: bool = False) -> None:
    """Say that a pass over the whole ledger is wanted before anything else is settled: what is read begins anew.

    For a copy of the database that may be restored long after it was made, and for a rebuild before its first write.
    What waits to be told, or a renewal to be taken up again, is the affair of the desk that the copy was made of. A
    cancellation stays wanted: a second one is harmless, and without it Telegram would go on taking Stars.
    """
    reading = await lock(session)
    start_over(reading)
    reading.pass_wanted_at = now
    reading.pass_begun_at = None
    reading.pass_trusts_unsigned = trusts_unsigned
    waits = update(OutboxMessage).where(OutboxMessage.due_at.is_not(None))
    await session.execute(waits.values(due_at=None, error="not told: the ledger is read first"))
    taken_up = update(Subscription).where(Subscription.renewal_wanted == Renewal.ALLOWED)
    await session.execute(taken_up.where(Subscription.due_at.is_not(None)).values(due_at=None))


def begin(reading: LedgerReading, now: datetime) -> bool:
    """Let a pass that is wanted begin now, unless it has begun: what is recorded or paid from here on is not of it."""
    if reading.pass_wanted_at is None or reading.pass_begun_at is not None:
        return False
    # Telegram's dates are whole seconds.
    reading.pass_begun_at = now.replace(microsecond=0)
    return True


def start_over(reading: LedgerReading) -> None:
    """Forget what was read: the next page is the first one."""
    reading.row_count = reading.nanostars = reading.payment_stars = reading.event_stars = 0
    reading.latest = "[]"
    reading.compared_at = reading.balance_off_nanostars = reading.balance_nanostars = None


async def has_events(session: AsyncSession) -> bool:
    """Tell whether any payment or refund of ours is on record."""
    return await session.scalar(select(StripeEvent.id).where(StripeEvent.origin == ORIGIN).limit(1)) is not None

"""Keeps the progress of reading Telegram's ledger (`ledger_reading`), and the mark that a whole pass comes first.

Functions take the caller's session and never commit. The module imports no aiogram.
"""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import insert_into
from db.states import ORIGIN, Renewal
from db.tables import LedgerReading, OutboxMessage, StripeEvent, Subscription


async def find(session: AsyncSession) -> LedgerReading | None:
    """Read the row with the progress of reading the ledger; None: no reading has begun."""
    return await session.scalar(select(LedgerReading), execution_options={"populate_existing": True})


async def lock(session: AsyncSession) -> LedgerReading:
    """Lock the row with the ledger's progress until the transaction ends; make the row first if it is missing.

    In the lock order this row comes before any user.
    """
    await session.execute(insert_into(session, LedgerReading).on_conflict_do_nothing(index_elements=["id"]), {"id": 1})
    query = select(LedgerReading).with_for_update()
    return (await session.scalars(query, execution_options={"populate_existing": True})).one()


async def mark_unfinished(session: AsyncSession, now: datetime, *, trusts_unsigned: bool = False) -> None:
    """Mark the ledger's progress as unfinished, so that a whole pass from the first row comes before any settlement.

    A backup marks its copy of the database so, because somebody may restore it long after; a rebuild marks the database
    before its first write. The mark withdraws notices and resumed renewals, because they belong to the desk that made
    the copy. A cancellation stays wanted: a second one is harmless, and without it Telegram would go on taking Stars.
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
    """Note in the ledger's progress that the wanted whole pass begins now; False: it has begun, or nobody wants one.

    The pass leaves out payments that buyers make, or the desk records, from here on.
    """
    if reading.pass_wanted_at is None or reading.pass_begun_at is not None:
        return False
    # Telegram's dates are whole seconds.
    reading.pass_begun_at = now.replace(microsecond=0)
    return True


def start_over(reading: LedgerReading) -> None:
    """Reset the ledger's progress, so that the next page is the first one."""
    reading.row_count = reading.nanostars = reading.payment_stars = reading.event_stars = 0
    reading.latest = "[]"
    reading.compared_at = reading.balance_off_nanostars = reading.balance_nanostars = None


async def has_events(session: AsyncSession) -> bool:
    """Tell whether the database has a payment or refund of ours on record."""
    return await session.scalar(select(StripeEvent.id).where(StripeEvent.origin == ORIGIN).limit(1)) is not None

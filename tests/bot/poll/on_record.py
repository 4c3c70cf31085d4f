"""The rows that the intake has made, for the tests of `bot/poll/intake.py`."""

from sqlalchemy import select

from db.engine import Database
from db.tables import QuarantinedUpdate, StripeEvent


async def recorded_ids(database: Database) -> set[str]:
    """Return the event ids of all audit rows."""
    async with database.reading() as session:
        return set(await session.scalars(select(StripeEvent.event_id)))


async def quarantined_ids(database: Database) -> list[int]:
    """Return the update ids of all updates in quarantine."""
    async with database.reading() as session:
        return list(await session.scalars(select(QuarantinedUpdate.update_id)))

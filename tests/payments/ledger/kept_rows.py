"""Rows of the ledger as the database keeps them, for the tests of `payments/ledger/kept.py`."""

from collections.abc import Sequence

from sqlalchemy import select

from db.engine import Database
from db.tables import LedgerEntry, QuarantinedUpdate
from tests.support.clock import START
from tests.support.ledger import Row

DATE = int(START.timestamp())


def withdrawal(name: str = "w", *, state: str = "pending", amount: int = 1000) -> Row:
    partner = {"type": "fragment", "withdrawal_state": {"type": state}}
    return {"id": name, "amount": amount, "date": DATE, "receiver": partner}


async def entries(database: Database) -> dict[tuple[str, str], LedgerEntry]:
    async with database.reading() as session:
        found = await session.scalars(select(LedgerEntry).order_by(LedgerEntry.place))
        return {(each.id, each.direction): each for each in found}


async def set_aside(database: Database) -> Sequence[QuarantinedUpdate]:
    async with database.reading() as session:
        return (await session.scalars(select(QuarantinedUpdate).order_by(QuarantinedUpdate.reason))).all()

"""The lock of users' rows, the first lock of every transaction that changes a user's money or access."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import User


async def lock_users(session: AsyncSession, which: ColumnElement[bool]) -> Sequence[User]:
    """Lock users' rows until the transaction ends, before events, grants or refunds change; return them by id.

    FOR NO KEY UPDATE, so that inserts of rows that refer to a user go on. SQLite has one writer and needs no lock.
    """
    query = select(User).where(which).order_by(User.id).with_for_update(key_share=True)
    return (await session.scalars(query, execution_options={"populate_existing": True})).all()

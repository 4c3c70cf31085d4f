"""Finds users' rows, and locks them: the first lock of every transaction that changes a user's money or access."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import User

NAMESAKES_MAX: Final = 5


async def find_user(session: AsyncSession, telegram_id: int) -> User | None:
    """Find the user with this Telegram id; None: the user is unknown."""
    return await session.scalar(select(User).where(User.telegram_id == telegram_id))


async def find_namesakes(session: AsyncSession, username: str) -> Sequence[User]:
    """Find the users last seen under a @username (without the @, in any case), at most 5.

    Several users have it after the name has passed from one account to another, because our name of a user is the one
    that came with a payment.
    """
    query = select(User).where(func.lower(User.username) == username.lower(), User.telegram_id.is_not(None))
    return (await session.scalars(query.order_by(User.telegram_id).limit(NAMESAKES_MAX))).all()


async def lock_users(session: AsyncSession, which: ColumnElement[bool]) -> Sequence[User]:
    """Lock users' rows until the transaction ends, before events, grants or refunds change; return them by id.

    FOR NO KEY UPDATE, so that inserts of rows that refer to a user go on. SQLite has one writer and needs no lock.
    """
    query = select(User).where(which).order_by(User.id).with_for_update(key_share=True)
    return (await session.scalars(query, execution_options={"populate_existing": True})).all()

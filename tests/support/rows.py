"""Rows that many tests need."""

from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import User, new_id


async def add_user(session: AsyncSession, telegram_id: int | None = None) -> str:
    """Insert a user and return the id; without a Telegram id it is a user of another service."""
    user = User(id=new_id(), telegram_id=telegram_id)
    session.add(user)
    await session.flush()
    return user.id

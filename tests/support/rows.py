"""Rows that many tests insert."""

from typing import Final

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import EventStatus
from db.tables import StripeEvent, User, new_id
from tests.support.clock import START

INCOMPRESSIBLE: Final = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(1024))
"""1,024 characters, 3,072 bytes: more than PostgreSQL's index takes of one value (2,704), packed or not."""


async def add_user(session: AsyncSession, telegram_id: int | None = None) -> str:
    """Insert a user and return the id; without a Telegram id it is a user of another service."""
    user = User(id=new_id(), telegram_id=telegram_id)
    session.add(user)
    await session.flush()
    return user.id


async def add_other_services_event(
    session: AsyncSession,
    event_id: str,
    customer_id: str,
    event_type: str = "charge.succeeded",
    amount_cents: int = 499,
) -> None:
    """Insert an audit row as another service on the shared database writes it: it knows nothing of our columns."""
    row = {
        "id": new_id(),
        "event_id": event_id,
        "event_type": event_type,
        "payment_method": "stripe",
        "customer_id": customer_id,
        "amount_cents": amount_cents,
        "currency": "USD",
        "status": EventStatus.PROCESSED,
        "processed_at": START,
    }
    await session.execute(insert(StripeEvent), row)

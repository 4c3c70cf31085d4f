"""The lock of a user's row before grants, on the engine where two write at once."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from db.engine import Database
from db.tables import Entitlement, User
from db.users import lock_users
from entitlements import EntitlementService
from tests.support.clock import START
from tests.support.rows import add_user
from tests.support.waiting import until


async def _expires_at(database: Database, user_id: str) -> datetime | None:
    async with database.reading() as session:
        return (await session.get_one(Entitlement, (user_id, "premium"))).expires_at


async def _somebody_waits_for_a_lock(database: Database) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with database.reading() as session:
        waiting: int = (await session.execute(text(query))).scalar_one()
    return waiting == 1


@pytest.mark.criterion("S9")
@pytest.mark.parametrize(("locks", "days"), [(True, 60), (False, 30)], ids=["with the lock", "without it"])
async def test_two_payments_at_once_are_sixty_days_by_the_lock(
    postgresql_database: Database, *, locks: bool, days: int
) -> None:
    async with postgresql_database.transaction() as session:
        user_id = await add_user(session)
    first_has_granted = asyncio.Event()

    async def first() -> None:
        async with postgresql_database.transaction() as session:
            if locks:
                await lock_users(session, User.id == user_id)
            await EntitlementService(session).grant_entitlement(
                user_id, "premium", "test:1", granted_at=START, duration_days=30
            )
            first_has_granted.set()
            # The second one has read what it will write: before its grant with the lock, after it without.
            await until(lambda: _somebody_waits_for_a_lock(postgresql_database))

    async def second() -> None:
        await first_has_granted.wait()
        async with postgresql_database.transaction() as session:
            if locks:
                await lock_users(session, User.id == user_id)
            await EntitlementService(session).grant_entitlement(
                user_id, "premium", "test:2", granted_at=START, duration_days=30
            )

    await asyncio.gather(first(), second())
    assert await _expires_at(postgresql_database, user_id) == START + timedelta(days=days)


@pytest.mark.criterion("S9")
async def test_twenty_five_grants_at_once_on_five_connections_all_count(postgresql_database: Database) -> None:
    async with postgresql_database.transaction() as session:
        user_id = await add_user(session)

    async def grant(source: str) -> None:
        async with postgresql_database.transaction() as session:
            await lock_users(session, User.id == user_id)
            await EntitlementService(session).grant_entitlement(
                user_id, "premium", source, granted_at=START, duration_days=30
            )

    await asyncio.gather(*(grant(f"test:{number}") for number in range(25)))
    assert await _expires_at(postgresql_database, user_id) == START + timedelta(days=25 * 30)

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import StatementError

from db.engine import Database
from db.tables import User

pytestmark = pytest.mark.engines("sqlite", "postgresql")

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
STORED = "SELECT CAST(created_at AS TEXT) FROM users"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize(
    "moment", [NOON, NOON.astimezone(timezone(timedelta(hours=9)))], ids=["given in UTC", "given in Tokyo's time"]
)
async def test_a_time_is_stored_in_utc_whatever_the_zones(database: Database, zone: str, moment: datetime) -> None:
    async with database.transaction() as session:
        if not database.is_sqlite:
            await session.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))
        session.add(User(id="u1", created_at=moment))
        await session.flush()
        assert await session.scalar(text(STORED)) == "2026-03-01 12:00:00.123456"
        session.expire_all()
        created_at = (await session.get_one(User, "u1")).created_at
        assert created_at == NOON
        assert created_at.tzinfo is UTC


async def test_no_time_is_no_time(database: Database) -> None:
    async with database.transaction() as session:
        session.add(User(id="u1", created_at=None))
        await session.flush()
        session.expire_all()
        assert (await session.get_one(User, "u1")).created_at is None


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="without a time zone"):
        async with database.transaction() as session:
            session.add(User(id="u1", created_at=NOON.replace(tzinfo=None)))

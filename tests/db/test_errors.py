"""The real errors of both database engines, as outage or refused value."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import Database
from db.errors import is_away, is_held_up, is_refusal
from db.lock.proof import is_pooler_error, pooler_error
from db.states import ORIGIN
from db.tables import StripeEvent, User
from db.timings import Timings
from tests.support.obstacles import refusing
from tests.support.rows import INCOMPRESSIBLE, add_user

pytestmark = pytest.mark.engines("sqlite", "postgresql")

EVENT: dict[str, Any] = {
    "id": "e1",
    "event_id": "charge",
    "event_type": "telegram_stars.successful_payment",
    "payment_method": "telegram_stars",
    "customer_id": "u1",
    "amount_cents": 200,
    "currency": "XTR",
    "origin": ORIGIN,
}


async def _error(database: Database, table: type[User | StripeEvent], row: dict[str, Any]) -> DBAPIError:
    async with database.transaction() as session:
        await session.execute(insert(User).values(id="u1", telegram_id=77))
    with pytest.raises(DBAPIError) as caught:
        async with database.transaction() as session:
            await session.execute(insert(table).values(row))
    return caught.value


@pytest.mark.parametrize(
    ("table", "row"),
    [
        pytest.param(User, {"id": "u1"}, id="taken id"),
        pytest.param(User, {"id": "u2", "telegram_id": 77}, id="taken Telegram id"),
        pytest.param(StripeEvent, EVENT | {"event_type": None}, id="missing value"),
        pytest.param(StripeEvent, EVENT | {"customer_id": "nobody"}, id="unknown user"),
        pytest.param(StripeEvent, EVENT | {"status": 1}, id="a rule of ours"),
    ],
)
async def test_a_value_that_breaks_a_constraint_is_refused(
    database: Database, table: type[User | StripeEvent], row: dict[str, Any]
) -> None:
    error = await _error(database, table, row)
    assert is_refusal(error)
    assert not is_away(error)


@pytest.mark.parametrize(
    ("table", "row"),
    [
        pytest.param(StripeEvent, EVENT | {"currency": "STARS"}, id="too long"),
        pytest.param(StripeEvent, EVENT | {"amount_cents": 1 << 31}, id="above 32 bits"),
        pytest.param(User, {"id": "u2", "telegram_id": 1 << 63}, id="above 64 bits"),
        pytest.param(User, {"id": "u2", "username": "a\0b"}, id="NUL"),
        pytest.param(User, {"id": "u2", "username": "\ud800"}, id="lone surrogate"),
        pytest.param(StripeEvent, EVENT | {"event_id": INCOMPRESSIBLE}, id="too long for an index"),
    ],
)
async def test_a_value_that_does_not_fit_is_refused(
    postgresql_database: Database, table: type[User | StripeEvent], row: dict[str, Any]
) -> None:
    error = await _error(postgresql_database, table, row)
    assert is_refusal(error)
    assert not is_away(error)


@pytest.fixture
def impatient(database_url: str, open_database: Callable[..., Database]) -> Database:
    """Open the database so that it gives up on a lock at once."""
    timings = Timings(sqlite_busy_seconds=0.001, lock_wait_seconds=0.001, statement_seconds=0.2)
    return open_database(database_url, timings, pool_size=1)


async def test_a_lock_held_by_another_is_no_refusal(database: Database, impatient: Database) -> None:
    async with database.transaction() as session:
        await add_user(session, telegram_id=77)
        with pytest.raises(DBAPIError, match="lock") as caught:
            async with impatient.transaction() as other:
                await add_user(other, telegram_id=77)
    assert is_away(caught.value)
    assert not is_refusal(caught.value)
    assert is_held_up(caught.value) is not database.is_sqlite


async def test_a_plain_exception_of_a_trigger_is_a_refusal(postgresql_database: Database) -> None:
    async with refusing(postgresql_database, "INSERT", "users", sqlstate="P0001"):
        with pytest.raises(DBAPIError) as caught:
            async with postgresql_database.transaction() as session:
                await add_user(session, telegram_id=77)
    assert is_refusal(caught.value)
    assert not is_away(caught.value)


async def test_deadlock_holds_up_one_of_two_transactions(postgresql_database: Database) -> None:
    async with postgresql_database.transaction() as session:
        user_ids = [await add_user(session) for _ in range(2)]
    barrier = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> None:
        async with postgresql_database.transaction() as session:
            # PostgreSQL looks for a circle when a wait has lasted so long.
            await session.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
            await session.execute(select(User).where(User.id == first).with_for_update())
            await barrier.wait()
            await session.execute(select(User).where(User.id == second).with_for_update())

    ended = await asyncio.gather(lock(*user_ids), lock(*reversed(user_ids)), return_exceptions=True)
    (error,) = [each for each in ended if each is not None]
    assert "deadlock" in str(error)
    assert is_held_up(error)
    assert is_away(error)


async def test_a_statement_that_the_server_ends_is_held_up(postgresql_database: Database) -> None:
    with pytest.raises(DBAPIError, match="canceling statement") as caught:
        async with postgresql_database.transaction() as session:
            await session.execute(text("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)"))
    assert is_held_up(caught.value)
    assert is_away(caught.value)


async def test_a_full_pool_is_no_refusal(impatient: Database) -> None:
    async with impatient._writer.connect():
        with pytest.raises(PoolTimeoutError) as caught:
            await impatient._writer.connect()
    assert is_away(caught.value)


async def test_a_connection_that_the_server_ends_is_no_refusal(postgresql_database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with postgresql_database.transaction() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert is_away(caught.value)
    assert not is_held_up(caught.value)
    async with postgresql_database.transaction() as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def test_a_statement_that_takes_too_long_is_no_refusal(
    postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    database = open_database(postgresql_url, Timings(statement_seconds=0.2))
    with pytest.raises(TimeoutError) as caught:
        async with database.reading() as session:
            await session.execute(text("SELECT pg_sleep(60)"))
    assert is_away(caught.value)


@pytest.mark.parametrize("host", ["/nowhere", "127.0.0.1:1"])
async def test_a_server_that_is_not_there_is_no_refusal(host: str, open_database: Callable[[str], Database]) -> None:
    database = open_database(f"postgresql+asyncpg://postgres@/desk?host={host}")
    with pytest.raises(OSError, match=r"No such file|Connect call failed") as caught:
        async with database.reading() as session:
            await session.execute(text("SELECT 1"))
    assert is_away(caught.value)


def test_a_bug_is_neither() -> None:
    assert not is_away(ValueError("a bug"))


async def test_pooler_error_is_known_by_its_code(postgresql_database: Database) -> None:
    prepare = text("PREPARE same AS SELECT 1")
    async with postgresql_database.transaction() as session:
        await session.execute(prepare)
    with pytest.raises(DBAPIError, match="already exists") as failure:
        async with postgresql_database.transaction() as session:
            await session.execute(prepare)
    assert is_pooler_error(failure.value)
    assert "pooler in transaction mode" in str(pooler_error())
    with pytest.raises(DBAPIError) as failure:
        async with postgresql_database.transaction() as session:
            await session.execute(text("SELECT 1 / 0"))
    assert not is_pooler_error(failure.value)

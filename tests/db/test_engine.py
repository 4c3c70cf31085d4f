import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import pytest
from sqlalchemy import QueuePool, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import POOL_SIZE, Database, Priority, _WriterQueue
from db.tables import User
from tests.support.rows import add_user
from tests.support.waiting import WAIT_SECONDS, until

pytestmark = pytest.mark.engines("sqlite", "postgresql")


async def _count_users(database: Database) -> int:
    async with database.reading() as session:
        return (await session.execute(select(func.count()).select_from(User))).scalar_one()


async def _use(opened: AbstractAsyncContextManager[AsyncSession], statement: str, error: BaseException | None) -> None:
    async with opened as session:
        await session.execute(text(statement))
        if error is not None:
            raise error


@pytest.mark.criterion("S8")
async def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    async with database.transaction() as session:
        await add_user(session)
    with pytest.raises(ZeroDivisionError):
        await _use(database.transaction(), "INSERT INTO users (id) VALUES ('u1')", ZeroDivisionError())
    assert await _count_users(database) == 1


@pytest.mark.criterion("I10")
@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT 1", ZeroDivisionError()),
        ("SELECT 1", asyncio.CancelledError()),
        ("SELECT absent", None),
        ("INSERT INTO users (id) VALUES (NULL)", None),
    ],
    ids=["bug", "cancelled", "unknown column", "refused"],
)
async def test_every_session_is_given_back_also_after_errors(
    database: Database, statement: str, error: BaseException | None
) -> None:
    # More often than there are connections: a pool that leaked would run dry.
    for opened in [database.transaction, database.reading] * (POOL_SIZE + 1):
        with pytest.raises(type(error) if error else DBAPIError):
            await _use(opened(), statement, error)
    for engine in (database._writer, database._reader):
        assert cast("QueuePool", engine.pool).checkedout() == 0
    assert await _count_users(database) == 0


async def test_urgent_transactions_go_first_at_sqlites_one_writer(sqlite_database: Database) -> None:
    passed: list[str] = []

    async def write(priority: Priority, name: str) -> None:
        async with sqlite_database.transaction(priority):
            passed.append(name)

    coming = [
        (Priority.RECONCILIATION, "reconciliation"),
        (Priority.WORKER, "worker"),
        (Priority.INTAKE, "intake"),
        (Priority.PRE_CHECKOUT, "first pre-checkout"),
        (Priority.PRE_CHECKOUT, "second pre-checkout"),
    ]
    async with asyncio.TaskGroup() as group, sqlite_database.transaction():
        for priority, name in coming:
            group.create_task(write(priority, name))
        await _until_waiting(sqlite_database._writer_queue, len(coming))
    assert passed == ["first pre-checkout", "second pre-checkout", "intake", "worker", "reconciliation"]


async def _until_waiting(turnstile: _WriterQueue, count: int) -> None:
    async def are_waiting() -> bool:
        return len(turnstile._waiting) == count

    await until(are_waiting)


@pytest.mark.parametrize("when", ["while it waits", "when its turn has just come"])
async def test_a_wait_that_is_cancelled_leaves_nothing_behind(when: str) -> None:
    turnstile = _WriterQueue()
    passed: list[str] = []

    async def go(name: str) -> None:
        async with turnstile.turn(Priority.WORKER):
            passed.append(name)

    async with turnstile.turn(Priority.WORKER):
        cancelled, patient = asyncio.create_task(go("cancelled")), asyncio.create_task(go("patient"))
        await _until_waiting(turnstile, 2)
        if when == "while it waits":
            cancelled.cancel()
    if when == "when its turn has just come":
        cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    async with asyncio.timeout(WAIT_SECONDS):
        await patient
        await go("later")
    assert passed == ["patient", "later"]
    assert turnstile._waiting == []


async def test_a_reader_cannot_write(sqlite_database: Database) -> None:
    with pytest.raises(OperationalError, match="readonly"):
        async with sqlite_database.reading() as session:
            await add_user(session)


async def test_a_reader_and_a_writer_do_not_wait_for_each_other(database: Database) -> None:
    async with database.reading() as reader:
        count = select(func.count()).select_from(User)
        assert await reader.scalar(count) == 0
        async with database.transaction() as writer:
            await add_user(writer)
            assert await _count_users(database) == 0
        assert await _count_users(database) == 1


async def test_sqlite_writes_are_on_disk_when_they_are_committed(sqlite_database: Database) -> None:
    pragmas: dict[str, Any] = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    async with sqlite_database.transaction() as session:
        assert {name: await session.scalar(text(f"PRAGMA {name}")) for name in pragmas} == pragmas


async def test_two_programs_write_one_sqlite_file_in_turn(
    sqlite_url: str, open_database: Callable[[str], Database]
) -> None:
    """A transaction takes the write lock when it begins: what it has read then still holds when it writes."""
    databases = [open_database(sqlite_url), open_database(sqlite_url)]

    async def add_one(database: Database) -> None:
        async with database.transaction() as session:
            count = (await session.execute(select(func.count()).select_from(User))).scalar_one()
            session.add(User(id=str(count)))

    await asyncio.gather(*(add_one(database) for database in databases * 5))
    assert await _count_users(databases[0]) == 10


async def test_a_directory_that_is_missing_is_made(
    empty_sqlite_url: str, open_database: Callable[[str], Database]
) -> None:
    database = open_database(empty_sqlite_url.replace("empty.sqlite", "data/desk.sqlite"))
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT 1")) == 1

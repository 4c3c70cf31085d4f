"""db/sqlite_driver.py: as few visits to the driver's thread as promised, and a connection as good as SQLAlchemy's."""

import asyncio
import hashlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, cast

import aiosqlite
import pytest
from sqlalchemy import QueuePool, func, insert, select, text, update
from sqlalchemy.connectors import asyncio as connectors
from sqlalchemy.dialects.sqlite import aiosqlite as dialect
from sqlalchemy.exc import IntegrityError, NotSupportedError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import concurrency

from db.engine import Database
from db.tables import User
from db.timings import Timings
from tests.support.rows import add_user
from tests.support.waiting import until

RELIED_ON: Final[dict[Any, str]] = {
    connectors.AsyncAdapt_dbapi_cursor: "f8e13406d2c7",
    connectors.AsyncAdapt_dbapi_connection: "fd5f3f964e1f",
    dialect.AsyncAdapt_aiosqlite_cursor: "4b52e21ed97b",
    dialect.AsyncAdapt_aiosqlite_connection: "6846c93240f1",
    dialect.AsyncAdapt_aiosqlite_dbapi: "8dcdc22e5f61",
    concurrency.await_: "fc520172d9d8",
    aiosqlite.core._connection_worker_thread: "17e364bc23e0",
    aiosqlite.Connection._execute: "11f83d6bbbe8",
    aiosqlite.Connection.commit: "fa99995cce2d",
    aiosqlite.Connection.rollback: "a6ed744fadb2",
    cast("property", aiosqlite.Connection._conn).fget: "2b88b77116bf",
}
"""The internals of SQLAlchemy and aiosqlite that db/sqlite_driver.py relies on, each with its source's digest."""


@pytest.mark.parametrize("internal", RELIED_ON, ids=lambda internal: internal.__qualname__)
def test_driver_internals_are_the_ones_that_were_read(internal: Any) -> None:
    found = hashlib.sha256(inspect.getsource(internal).encode()).hexdigest()[:12]
    assert found == RELIED_ON[internal], (
        f"{internal.__module__}.{internal.__qualname__} has changed: read db/sqlite_driver.py beside it, mend what no"
        f" longer fits, and write {found!r} here"
    )


class _Visits(logging.Handler):
    """Counts the functions that the driver's threads have run, by the driver's own log."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.msg == "executing %s"


@pytest.fixture
def visits() -> Iterator[_Visits]:
    logger, visits = logging.getLogger("aiosqlite"), _Visits()
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(visits)
    yield visits
    logger.removeHandler(visits)
    logger.level, logger.propagate = before


async def _nothing(_session: AsyncSession) -> None:
    pass


async def _three_reads(session: AsyncSession) -> None:
    for number in range(3):
        assert await session.scalar(select(User.id).where(User.telegram_id == number)) is None


async def _many_rows(session: AsyncSession) -> None:
    await session.execute(insert(User), [{"id": f"u{number}"} for number in range(50)])
    assert len((await session.scalars(select(User))).all()) == 50


async def _returned_rows(session: AsyncSession) -> None:
    ids = await session.scalars(insert(User).returning(User.id), [{"id": f"u{number}"} for number in range(50)])
    assert len(ids.all()) == 50


async def _changed_rows(session: AsyncSession) -> None:
    await session.execute(insert(User), [{"id": "u1"}, {"id": "u2"}])
    changed: Any = await session.execute(update(User).values(username="ann"))
    assert changed.rowcount == 2


async def _savepoint(session: AsyncSession) -> None:
    async with session.begin_nested():
        await add_user(session)


@pytest.mark.parametrize(
    ("work", "statements"),
    [
        (_nothing, 0),
        (add_user, 1),
        (_three_reads, 3),
        (_many_rows, 2),
        (_returned_rows, 1),
        (_changed_rows, 2),
        (_savepoint, 3),
    ],
)
async def test_each_statement_is_one_visit_and_a_commit_one_more(
    sqlite_database: Database, visits: _Visits, work: Callable[[AsyncSession], Awaitable[object]], statements: int
) -> None:
    async with sqlite_database.transaction() as session:
        await session.execute(text("SELECT 1"))
    visits.count = 0
    async with sqlite_database.transaction() as session:
        await work(session)
    assert visits.count == (statements + 1 if statements else 0)


async def test_reading_one_statement_is_two_visits(sqlite_database: Database, visits: _Visits) -> None:
    for _ in range(2):
        visits.count = 0
        async with sqlite_database.reading() as session:
            await session.scalar(select(func.count()).select_from(User))
    assert visits.count == 2


async def test_a_block_reads_one_moment(sqlite_database: Database) -> None:
    async with sqlite_database.reading() as reader:
        before = (await reader.scalars(select(User.id))).all()
        async with sqlite_database.transaction() as session:
            await add_user(session)
        assert (await reader.scalars(select(User.id))).all() == before == []


async def test_a_refused_statement_leaves_the_rest_of_its_transaction(sqlite_database: Database) -> None:
    async with sqlite_database.transaction() as session:
        await session.execute(insert(User), {"id": "u1"})
        with pytest.raises(IntegrityError):
            await session.execute(insert(User), {"id": "u1"})
        await session.execute(insert(User), {"id": "u2"})
    async with sqlite_database.reading() as session:
        assert set(await session.scalars(select(User.id))) == {"u1", "u2"}


async def test_transaction_that_finds_the_file_locked_leaves_nothing_open(
    sqlite_database: Database, sqlite_url: str, open_database: Callable[..., Database]
) -> None:
    impatient = open_database(sqlite_url, Timings(sqlite_busy_seconds=0))
    async with sqlite_database.transaction() as session:
        await add_user(session)
        with pytest.raises(OperationalError, match="database is locked"):
            await _count(impatient)
    assert await _count(impatient) == 1


async def test_a_statement_after_a_refused_begin_does_not_commit_alone(
    sqlite_database: Database, sqlite_url: str, open_database: Callable[..., Database]
) -> None:
    impatient = open_database(sqlite_url, Timings(sqlite_busy_seconds=0))

    async def begin_twice_and_fail() -> None:
        async with impatient.transaction() as late:
            async with sqlite_database.transaction() as session:
                await add_user(session)
                with pytest.raises(OperationalError, match="database is locked"):
                    await late.execute(insert(User), {"id": "u1"})
            await late.execute(insert(User), {"id": "u2"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await begin_twice_and_fail()
    assert await _count(sqlite_database) == 1


async def _count(database: Database) -> int:
    async with database.transaction() as session:
        return (await session.execute(select(func.count()).select_from(User))).scalar_one()


async def test_a_statement_that_is_cancelled_on_the_thread_leaves_nothing_behind(
    sqlite_database: Database, sqlite_url: str, open_database: Callable[..., Database]
) -> None:
    """Cancelled is a statement that has begun to wait for another program's lock, and gets it after all."""
    other = open_database(sqlite_url)
    pool = cast("QueuePool", sqlite_database._writer.pool)

    async def add_one() -> None:
        async with sqlite_database.transaction() as session:
            await add_user(session)

    async with other.transaction() as session:
        await session.execute(text("SELECT 1"))
        adding = asyncio.create_task(add_one())

        async def is_waiting() -> bool:
            return bool(pool.checkedout())

        await until(is_waiting)
        adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert pool.checkedout() == 0
    assert await _count(sqlite_database) == 0
    await add_one()
    assert await _count(sqlite_database) == 1


async def test_a_stream_is_refused(sqlite_database: Database) -> None:
    """It would leave a statement open on the thread, and read outside the transaction if it came first."""
    async with sqlite_database.reading() as session:
        with pytest.raises(NotSupportedError, match="all its rows in one visit"):
            await session.stream(select(User.id))


async def test_cursor_gives_its_rows_in_parts(sqlite_database: Database) -> None:
    async with sqlite_database.transaction() as session:
        await session.execute(insert(User), [{"id": f"u{number}"} for number in range(5)])
        rows = await session.execute(select(User.id).order_by(User.id))
        assert [len(rows.fetchmany(2)), rows.fetchone(), len(rows.all())] == [2, ("u2",), 2]

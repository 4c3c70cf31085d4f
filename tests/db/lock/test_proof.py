"""The proof that the desk's lock is ours alone: beside other bots' desks, against a stranger."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from db.address import PostgresAddress, parse_database_url
from db.engine import Database
from db.errors import WrongDatabaseError
from db.lock import desk_lock, read_lock_report
from db.lock.advisory_lock import AdvisoryLock
from db.lock.holder import FORMER_KEY, find_key
from db.migrate import migrate
from db.timings import Timings
from tests.conftest import BOT_ID
from tests.support.document import run
from tests.support.timings import change_timings
from tests.support.waiting import until

OFTEN = Timings(lock_try_seconds=0.01)
Open = Callable[[str], Database]


async def test_a_connection_that_changes_its_process_is_a_poolers(empty_postgresql_url: str) -> None:
    lock = desk_lock(empty_postgresql_url, timings=OFTEN)
    assert isinstance(lock, AdvisoryLock)
    await lock.acquire()
    lock._pid += 1
    with pytest.raises(WrongDatabaseError, match="pooler in transaction mode"):
        await lock.ensure()
    await lock.release()


async def test_five_bots_with_a_schema_each_run_beside_each_other(
    empty_postgresql_url: str, open_database: Open
) -> None:
    locks = []
    for number in range(5):
        await run(empty_postgresql_url, f"CREATE SCHEMA bot{number}")
        url = f"{empty_postgresql_url}&options=-csearch_path%3Dbot{number}"
        locks.append(desk_lock(url, BOT_ID + number, OFTEN))
        await asyncio.wait_for(locks[-1].acquire(), 10)
        await migrate(open_database(url), BOT_ID + number)
    for lock in locks:
        await lock.ensure()
    for number, lock in enumerate(locks):
        url = f"{empty_postgresql_url}&search_path=bot{number}"
        owner = f"SELECT bot_id FROM bot{number}.desk"  # noqa: S608 - names of ours
        assert await run(empty_postgresql_url, owner) == [(BOT_ID + number,)]
        # By its database or its schema alone it is the same lock.
        assert (await read_lock_report(url, 0)).holder is not None
        await lock.release()
        assert (await read_lock_report(url, 0)).holder is None


async def test_a_schema_that_is_not_there_is_told_of(empty_postgresql_url: str) -> None:
    lock = desk_lock(f"{empty_postgresql_url}&search_path=absent", timings=OFTEN)
    with pytest.raises(WrongDatabaseError, match="CREATE SCHEMA"):
        await lock.acquire()
    await lock.release()


async def test_the_database_of_another_bot_is_not_waited_for(postgresql_url: str) -> None:
    holder, other = desk_lock(postgresql_url, BOT_ID, OFTEN), desk_lock(postgresql_url, BOT_ID + 1, OFTEN)
    await holder.acquire()
    with pytest.raises(WrongDatabaseError, match=f"belongs to the bot {BOT_ID}, and TELEGRAM_BOT_TOKEN"):
        await asyncio.wait_for(other.acquire(), 10)
    for lock in (holder, other):
        await lock.release()


@asynccontextmanager
async def stranger(url: str, key: int) -> AsyncIterator[None]:
    """Hold a key in the block, as somebody who may do nothing but connect."""
    await run(url, "DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN")
    address = parse_database_url(url)
    assert isinstance(address, PostgresAddress)
    connection = await asyncpg.connect(host=address.servers[0].host, user="stranger", database=address.database)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", key)
        yield
    finally:
        await connection.close()
        await run(url, "DROP ROLE stranger")


@pytest.mark.parametrize("is_former", [False, True])
async def test_a_stranger_who_holds_the_lock_is_trouble_after_a_minute(postgresql_url: str, *, is_former: bool) -> None:
    address = parse_database_url(postgresql_url)
    assert isinstance(address, PostgresAddress)
    connection = await asyncpg.connect(host=address.servers[0].host, user=address.user, database=address.database)
    key = FORMER_KEY if is_former else await find_key(connection, BOT_ID)
    await connection.close()
    lock = desk_lock(postgresql_url, BOT_ID, replace(OFTEN, lock_stranger_seconds=3600.0))
    async with stranger(postgresql_url, key):
        waiting = asyncio.create_task(lock.acquire())

        async def stands_by() -> bool:
            return lock.is_standing_by

        await until(stands_by)
        assert lock.holder is not None
        assert (lock.holder.may_be_desk, lock.trouble) == (False, None)
        assert "user stranger, application" in lock.holder.words
        change_timings(lock, lock_stranger_seconds=0.0)

        async def is_told() -> bool:
            return "a session that is no desk holds its lock (user stranger" in (lock.trouble or "")

        await until(is_told)
    await asyncio.wait_for(waiting, 10)
    assert [lock.trouble, lock.holder] == [None, None]
    await lock.release()


async def test_a_desk_that_holds_it_is_no_stranger(postgresql_url: str) -> None:
    hasty = replace(OFTEN, lock_stranger_seconds=0.0)
    first, second = desk_lock(postgresql_url, BOT_ID, hasty), desk_lock(postgresql_url, BOT_ID, hasty)
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())

    async def knows() -> bool:
        return second.holder is not None and second.is_standing_by

    await until(knows)
    assert second.trouble is None
    assert "application starledger lock " in str(second.holder)
    await first.release()
    await asyncio.wait_for(waiting, 10)
    await second.release()

"""The desk's lock on both engines: one active desk for a database."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from db.errors import AnotherDeskError, is_away
from db.lock import DeskLock, desk_lock
from db.lock.advisory_lock import AdvisoryLock
from db.timings import Timings
from tests.support.document import run
from tests.support.timings import change_timings
from tests.support.waiting import WAIT_SECONDS, until

OFTEN = Timings(lock_try_seconds=0.01)
HOLDERS = """
    SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""
END_HOLDERS = HOLDERS.replace("pid", "pg_terminate_backend(pid)")


async def _has_noticed(lock: DeskLock) -> bool:
    assert isinstance(lock, AdvisoryLock)
    return bool(lock._connection.is_closed())


async def test_a_second_desk_on_sqlite_says_so_and_ends(sqlite_url: str) -> None:
    first, second = desk_lock(sqlite_url), desk_lock(sqlite_url)
    await first.acquire()
    with pytest.raises(AnotherDeskError, match=r"another desk is running.*desk\.sqlite\.lock"):
        await second.acquire()
    await second.release()
    # Asked for again, as while its database does not answer at the start, it stays where it is.
    await first.acquire()
    await first.ensure()
    with pytest.raises(AnotherDeskError):
        await second.acquire()
    await first.release()
    await second.acquire()
    await second.release()


async def test_a_lock_file_that_cannot_be_made_leaves_nothing_to_give_back(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no directory")
    lock = desk_lock(f"sqlite+aiosqlite:///{tmp_path}/data/desk.sqlite")
    with pytest.raises(OSError, match="data"):
        await lock.acquire()
    await lock.release()


@pytest.mark.parametrize("end", ["released", "connection lost"])
async def test_a_second_desk_on_postgresql_stands_by_and_takes_over(empty_postgresql_url: str, end: str) -> None:
    first, second = desk_lock(empty_postgresql_url, timings=OFTEN), desk_lock(empty_postgresql_url, timings=OFTEN)
    await first.acquire()
    (holder,) = await run(empty_postgresql_url, HOLDERS)
    standing_by = asyncio.create_task(second.acquire())

    async def second_has_asked() -> bool:
        query = (
            "SELECT pid FROM pg_stat_activity WHERE query LIKE '%try_advisory%' AND state = 'idle'"
            " AND datname = current_database()"
        )
        return len(await run(empty_postgresql_url, query)) == 2

    await until(second_has_asked)
    assert not standing_by.done()
    if end == "released":
        await first.release()
    else:
        await run(empty_postgresql_url, END_HOLDERS)
        await until(lambda: _has_noticed(first))
    await standing_by
    assert await run(empty_postgresql_url, HOLDERS) != [holder]
    if end == "connection lost":
        # Asked again it says so again: it has a connection now, but not the lock.
        for _ in range(2):
            with pytest.raises(AnotherDeskError, match="another desk has taken over"):
                await first.ensure()
    for lock in (first, second):
        await lock.release()


async def test_a_lock_that_nobody_took_meanwhile_is_taken_again(empty_postgresql_url: str) -> None:
    lock = desk_lock(empty_postgresql_url, timings=OFTEN)
    await lock.acquire()
    await run(empty_postgresql_url, END_HOLDERS)
    await until(lambda: _has_noticed(lock))
    # The recorder and the watch may find out at once: one takes it, and the other is not told that it is lost.
    await asyncio.gather(lock.ensure(), lock.ensure())
    assert len(await run(empty_postgresql_url, HOLDERS)) == 1
    await lock.release()


@asynccontextmanager
async def _hung(url: str) -> AsyncIterator[int]:
    """Stop the server's process that holds the lock, as a machine that vanished looks from here; give its id."""
    ((holder,),) = await run(url, HOLDERS)
    assert isinstance(holder, int)
    os.kill(holder, signal.SIGSTOP)
    try:
        yield holder
    finally:
        os.kill(holder, signal.SIGCONT)


async def test_a_connection_that_does_not_answer_is_not_believed_and_a_server_that_only_hung_has_kept_the_lock(
    empty_postgresql_url: str,
) -> None:
    lock = desk_lock(empty_postgresql_url, timings=replace(OFTEN, lock_answer_seconds=0.05))
    await lock.acquire()
    async with _hung(empty_postgresql_url) as holder:
        for _ in range(2):
            with pytest.raises(TimeoutError) as raised:
                await lock.ensure()
            assert is_away(raised.value)
    change_timings(lock, lock_answer_seconds=WAIT_SECONDS)
    await lock.ensure()
    assert await run(empty_postgresql_url, HOLDERS) == [(holder,)]
    await lock.release()


async def test_a_connection_that_never_answers_is_given_up_and_the_lock_taken_from_it(
    empty_postgresql_url: str,
) -> None:
    lock = desk_lock(empty_postgresql_url, timings=OFTEN)
    await lock.acquire()
    change_timings(lock, lock_answer_seconds=0.5, lock_patience_seconds=0)
    async with _hung(empty_postgresql_url) as holder:
        # Its own old connection has the lock, which is no other desk.
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await lock.ensure()
    await until(lambda: _is_held(lock))
    assert (holder,) not in await run(empty_postgresql_url, HOLDERS)
    await lock.release()


async def _is_held(lock: DeskLock) -> bool:
    try:
        await lock.ensure()
    except TimeoutError:
        return False
    return True


async def test_a_desk_that_stops_while_its_server_hangs_does_not_wait_for_it(empty_postgresql_url: str) -> None:
    lock = desk_lock(empty_postgresql_url, timings=replace(OFTEN, lock_answer_seconds=0.05))
    await lock.acquire()
    async with _hung(empty_postgresql_url):
        with pytest.raises(TimeoutError):
            await lock.ensure()
        await lock.release()

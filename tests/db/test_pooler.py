"""The desk behind a real PgBouncer: sound in session mode, refused in words in every other mode."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from db.engine import Database
from db.errors import UnfitServerError, WrongDatabaseError
from db.lock import desk_lock, read_lock_report
from db.migrate import migrate
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.conftest import BOT_ID
from tests.db.pgbouncer import needs_pgbouncer, pooled
from tests.support.commands import Commands
from tests.support.daemon import TOKEN, running_daemon

Open = Callable[[str], Database]

pytestmark = needs_pgbouncer

OF_THE_LOCK = r"pooler in transaction mode.*give the desk the server's own address"


async def test_a_pool_in_session_mode_is_as_good_as_the_server(empty_postgresql_url: str, open_database: Open) -> None:
    async with pooled(empty_postgresql_url, "session") as url:
        lock, database = desk_lock(url, BOT_ID), open_database(url)
        await lock.acquire()
        await lock.ensure()
        await migrate(database, BOT_ID)
        async with database.transaction() as session:
            assert await session.scalar(text("SHOW lock_timeout")) == "1500ms"
        assert (await read_lock_report(url, BOT_ID)).holder is not None
        await lock.release()
        await database.dispose()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pool_in_which_no_lock_holds_is_refused_and_keeps_none(empty_postgresql_url: str, mode: str) -> None:
    async with pooled(empty_postgresql_url, mode) as url:
        lock = desk_lock(url)
        with pytest.raises(WrongDatabaseError, match=OF_THE_LOCK):
            await lock.acquire()
        assert lock.server is None
        await lock.release()
        with pytest.raises(WrongDatabaseError, match=OF_THE_LOCK):
            await read_lock_report(url, BOT_ID)
        # The locks of the pooler's own connections are given back, or no desk would ever get one again.
        direct = desk_lock(empty_postgresql_url)
        await asyncio.wait_for(direct.acquire(), 10)
        await direct.release()


async def test_a_pooler_as_it_comes_is_told_of_with_the_mend(empty_postgresql_url: str) -> None:
    async with pooled(empty_postgresql_url, "") as url:
        with pytest.raises(UnfitServerError, match=r"no such database.*below \[databases\]"):
            await desk_lock(url).acquire()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_the_daemon_ends_with_the_sentence(postgresql_url: str, tmp_path: Path, mode: str) -> None:
    async with pooled(postgresql_url, mode) as url, running_sandbox(Settings(token=TOKEN)) as server:
        with running_daemon(tmp_path, server.url, url) as daemon:
            assert await daemon.ended() == 78
            [line] = [line for line in daemon.said().splitlines() if line.startswith("starledger: ")]
            assert "pooler in transaction mode" in line
            assert "Traceback" not in daemon.said()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_the_daemon_runs_through_a_pool_in_session_mode_and_doctor_names_every_other_one(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server, pooled(postgresql_url, "session") as url:
        with running_daemon(tmp_path, server.url, url) as daemon:
            await daemon.until_said("ready: ")
            async with pooled(postgresql_url, mode) as mixed:
                # A doctor that asks through another pool is told of that pool, and of nothing that it causes.
                commands = Commands(mixed, monkeypatch, tmp_path)
                found = await commands.prints("doctor", status=1)
                assert "failure  database: DATABASE_URL leads through a pooler in transaction mode" in found
            assert await daemon.stop() == 0

"""A PostgreSQL server that refuses the client: the start ends, and a desk that runs waits it out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
import pytest
import pytest_asyncio

import db.lock.advisory_lock
import db.migrate
from bot.calls.telegram_time import TelegramTime
from bot.desk.start import prepare
from bot.monitoring.health import Health
from bot.settings import Settings
from db.address import PostgresAddress, parse_database_url
from db.dial import _explain_server_error
from db.engine import Database
from db.errors import NoServerError, UnfitServerError, is_away
from db.lock import desk_lock
from db.migrate import migrate
from db.timings import Timings
from sandbox.server import running_sandbox
from sandbox.settings import Settings as SandboxSettings
from tests.conftest import BOT_ID
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock
from tests.support.commands import Commands
from tests.support.daemon import TOKEN, running_daemon
from tests.support.logs import logged
from tests.support.postgresql import Cluster, cluster_directory, remove_cluster
from tests.support.waiting import until

Open = Callable[[str], Database]

PASSWORD: Final = "hush:hush/hush"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed() -> AsyncIterator[Cluster]:
    """Give a PostgreSQL of its own that asks for a password."""
    directory = cluster_directory()
    cluster = Cluster(directory)
    try:
        await cluster.forget_durability()
        await cluster.execute(
            f"CREATE ROLE desk LOGIN PASSWORD '{PASSWORD}'",
            "CREATE ROLE barred LOGIN PASSWORD 'x'",
            "CREATE ROLE strange LOGIN",
            "CREATE DATABASE desk OWNER desk",
            "REVOKE CONNECT ON DATABASE desk FROM PUBLIC",
        )
        hba = directory / "pg_hba.conf"
        hba.write_text(
            "local all desk scram-sha-256\nlocal all barred scram-sha-256\n"
            "local all strange reject\nlocal all postgres trust\n"
        )
        await cluster.execute("SELECT pg_reload_conf()")

        async def asks() -> bool:
            try:
                connection = await asyncpg.connect(host=str(directory), user="strange", database="postgres")
            except asyncpg.InvalidAuthorizationSpecificationError as error:
                return "rejects" in str(error)
            await connection.close()
            return False

        await until(asks)
        yield cluster
    finally:
        remove_cluster(directory)


def url_of(cluster: Cluster, user: str = "desk", password: str = PASSWORD, name: str = "desk") -> str:
    address = parse_database_url(cluster.url(name))
    assert isinstance(address, PostgresAddress)
    place = quote(address.servers[0].host, safe="")
    return f"postgresql://{user}:{quote(password, safe='')}@/{name}?host={place}"


WRONG: Final = [
    pytest.param({"password": "wrong"}, 'password authentication failed for user "desk"', id="password"),
    pytest.param({"password": ""}, "password authentication failed|mend the", id="no-password"),
    pytest.param({"user": "nobody"}, "no pg_hba.conf entry", id="role"),
    pytest.param({"user": "strange"}, "pg_hba.conf rejects", id="hba"),
    pytest.param({"name": "absent"}, 'database "absent" does not exist', id="database"),
    pytest.param({"user": "barred", "password": "x"}, "permission denied for database", id="connect"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
async def test_wrong_setting_ends_every_command_with_its_mend(
    closed: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], words: str
) -> None:
    url = url_of(closed, **wrong)
    with pytest.raises(UnfitServerError, match=words) as caught:
        await desk_lock(url).acquire()
    assert is_away(caught.value), "a desk that runs waits until somebody has mended it"
    commands = Commands(url, monkeypatch, tmp_path)
    result = await commands.run("pending")
    assert (result.exit_code, result.stderr.count("\n")) == (78, 1), result.output
    told = await commands.prints("doctor", status=1)
    assert "failure  database: the database cannot be used as DATABASE_URL says" in told
    assert "hush" not in result.output + told


@pytest.mark.parametrize("way", ["LDAP", "PAM", "RADIUS", "GSSAPI"])
def test_an_authentication_that_another_server_decides_is_an_outage(way: str) -> None:
    said = {"S": "FATAL", "C": "28000", "M": f'{way} authentication failed for user "desk"'}
    assert not _explain_server_error(asyncpg.PostgresError.new(said))[1]
    assert _explain_server_error(asyncpg.PostgresError.new(said | {"M": 'role "desk" is not permitted to log in'}))[1]


async def test_wrong_password_beside_an_absent_server_is_an_outage(closed: Cluster) -> None:
    url = url_of(closed, password="wrong")
    with pytest.raises(NoServerError):
        await desk_lock(f"{url}&host=127.0.0.1").acquire()


async def test_the_daemon_ends_at_once_with_one_line(closed: Cluster, tmp_path: Path) -> None:
    async with running_sandbox(SandboxSettings(token=TOKEN)) as server:
        url = url_of(closed, password="wrong-one")
        with running_daemon(tmp_path, server.url, url) as daemon:
            assert await daemon.ended() == 78
            [line] = [line for line in daemon.said().splitlines() if line.startswith("starledger: ")]
            assert "mend the user or the password" in line
            assert "wrong-one" not in daemon.said()


async def test_a_desk_that_runs_waits_for_its_password(closed: Cluster, tmp_path: Path) -> None:
    async with running_sandbox(SandboxSettings(token=TOKEN)) as server:
        with running_daemon(tmp_path, server.url, url_of(closed)) as daemon:
            await daemon.until_said("ready: ")
            async with _changed_password(closed):
                await server.client.add_person("Ann", id=9001, started=True)
                await server.client.send_text(9001, "/status")
                told = await server.client.wait_for(9001, lambda one: one.by_bot)
                assert "try again" in told.text()
            assert await daemon.stop() == 0


async def test_a_desk_that_stands_by_waits_for_its_password(
    closed: Cluster, clock: FakeClock, open_database: Open
) -> None:
    hasty = Timings(lock_try_seconds=0.01, database_pause_seconds=0.01)
    url = url_of(closed)
    holder, second = desk_lock(url, BOT_ID, hasty), desk_lock(url, BOT_ID, hasty)
    await holder.acquire()
    async with running_sandbox(SandboxSettings(token=TOKEN)) as server, talking_bot(server.url, TOKEN) as bot:
        settings = Settings(telegram_bot_token=TOKEN, telegram_api_url=server.url, database_url=url)
        health = Health(clock)
        start = prepare(settings, open_database(url), second, bot, clock, health, TelegramTime(clock), hasty)
        waiting = asyncio.create_task(start)

        async def stands_by() -> bool:
            return second.is_standing_by

        await until(stands_by)
        async with _changed_password(closed):

            async def is_noted() -> bool:
                return "database" in health.troubles

            await until(is_noted)
            assert not waiting.done()
        await holder.release()
        await waiting
    await second.release()


@asynccontextmanager
async def _changed_password(closed: Cluster) -> AsyncIterator[None]:
    """Let the desk's password be another one in the block, and end what is connected with the former."""
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'desk'"
    await closed.execute("ALTER ROLE desk PASSWORD 'another'", end)
    try:
        yield
    finally:
        await closed.execute(f"ALTER ROLE desk PASSWORD '{PASSWORD}'")


async def test_holder_of_the_migration_lock_is_named(
    empty_postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    address = parse_database_url(empty_postgresql_url)
    assert isinstance(address, PostgresAddress)
    other = await asyncpg.connect(
        host=address.servers[0].host,
        user=address.user,
        database=address.database,
        server_settings={"application_name": "somebody"},
    )
    database = open_database(empty_postgresql_url, Timings(migration_wait_seconds=1))
    await other.execute("SELECT pg_advisory_lock($1)", db.migrate._MIGRATION_LOCK)
    with logged() as records, pytest.raises(NoServerError, match=r"migrations.*user postgres, application somebody"):
        await migrate(database, BOT_ID)
    assert any("another session migrates this database" in record["message"] for record in records)
    await other.close()
    await migrate(database, BOT_ID)

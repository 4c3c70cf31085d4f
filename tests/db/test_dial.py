"""Connections to real PostgreSQL servers: TLS, several of them, a NAT that forgets, and a pooler."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.engine import Database, Priority
from db.errors import NoServerError, UnfitServerError, is_away
from db.lock import desk_lock
from db.timings import Timings
from tests.db.in_front import Authority, authority, way_to
from tests.support.document import run
from tests.support.postgresql import Cluster, cluster_directory, remove_cluster
from tests.support.waiting import WAIT_SECONDS, until

Open = Callable[[str], Database]


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("theirs"), "theirs")


async def _one(database: Database) -> None:
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("query", ["sslmode=require", "sslmode=prefer", "ssl=true", "channel_binding=require"])
async def test_tls_without_proof_of_who_it_is(
    empty_postgresql_url: str, open_database: Open, ours: Authority, query: str
) -> None:
    async with way_to(empty_postgresql_url, ours.server) as way:
        await _one(open_database(way.url(empty_postgresql_url, query)))


@pytest.mark.parametrize(
    ("mode", "host"), [("verify-full", "localhost"), ("verify-ca", "127.0.0.1"), ("require", "127.0.0.1")]
)
async def test_tls_with_an_authority_of_ones_own(
    empty_postgresql_url: str, open_database: Open, ours: Authority, mode: str, host: str
) -> None:
    async with way_to(empty_postgresql_url, ours.server) as way:
        url = way.url(empty_postgresql_url, f"sslmode={mode}&sslrootcert={ours.certificate}", host)
        await _one(open_database(url))
        lock = desk_lock(url)
        await lock.acquire()
        await lock.release()


@pytest.mark.parametrize(
    ("query", "host", "words"),
    [
        ("sslmode=verify-full&sslrootcert={theirs}", "localhost", "is not trusted"),
        ("sslmode=require&sslrootcert={theirs}", "localhost", "is not trusted"),
        ("sslmode=verify-full&sslrootcert={ours}", "127.0.0.1", "IP address mismatch"),
        ("sslmode=verify-full&sslrootcert=system", "localhost", "is not trusted"),
        (
            "sslmode=verify-full&sslrootcert=/nowhere.pem",
            "localhost",
            "sslrootcert in DATABASE_URL names cannot be used",
        ),
        ("sslmode=require&sslcert=/nowhere.pem", "localhost", "sslcert or sslkey in DATABASE_URL names cannot be used"),
        ("statement_timeout=soon&sslmode=require", "localhost", "does not take the statement_timeout"),
    ],
)
async def test_a_connection_that_only_another_setting_makes_says_so(
    empty_postgresql_url: str,
    open_database: Open,
    ours: Authority,
    theirs: Authority,
    query: str,
    host: str,
    words: str,
) -> None:
    async with way_to(empty_postgresql_url, ours.server) as way:
        url = way.url(empty_postgresql_url, query.format(ours=ours.certificate, theirs=theirs.certificate), host)
        with pytest.raises(UnfitServerError, match=words) as caught:
            await _one(open_database(url))
        assert is_away(caught.value), "a desk that runs waits until somebody has mended it"
        with pytest.raises(UnfitServerError, match=words):
            await desk_lock(url).acquire()


async def test_a_server_without_tls_is_not_talked_to_when_it_is_wanted(
    empty_postgresql_url: str, open_database: Open
) -> None:
    async with way_to(empty_postgresql_url) as way:
        with pytest.raises(UnfitServerError, match="it has no TLS, and the sslmode in DATABASE_URL insists on it"):
            await _one(open_database(way.url(empty_postgresql_url, "sslmode=require")))
        await _one(open_database(way.url(empty_postgresql_url)))


async def test_no_buyer_is_served_on_a_connection_that_was_forgotten_on_the_way(
    empty_postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    impatient = Timings(connection_idle_seconds=0, connection_answer_seconds=0.1)
    async with way_to(empty_postgresql_url) as way:
        database = open_database(way.url(empty_postgresql_url), impatient)

        async def buy() -> None:
            async with database.transaction(Priority.PRE_CHECKOUT) as session:
                await session.execute(text("SELECT pg_sleep(0.05)"))

        await asyncio.gather(buy(), buy(), buy())
        assert way.connections == 3
        way.forget()
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.gather(buy(), buy(), buy())
        # One question found it out; the others were made anew without one each.
        await buy()
        assert way.connections == 3


async def test_a_server_that_was_seen_not_to_answer_is_asked_before_anything_is_done_on_it(
    empty_postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    async with way_to(empty_postgresql_url) as way:
        database = open_database(way.url(empty_postgresql_url), Timings(connection_answer_seconds=0.1))
        await _one(database)
        way.forget()
        database.doubt()
        async with asyncio.timeout(WAIT_SECONDS):
            await _one(database)


async def test_every_connection_is_kept_alive_by_the_kernel(empty_postgresql_url: str, open_database: Open) -> None:
    async with way_to(empty_postgresql_url) as way:
        database = open_database(way.url(empty_postgresql_url))
        async with database._writer.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            plain = raw._transport.get_extra_info("socket")
            assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


@pytest_asyncio.fixture
async def two() -> AsyncIterator[tuple[Cluster, Cluster]]:
    """Give two servers that nobody else's tests are on, both of which take writes."""
    directories = [cluster_directory(), cluster_directory()]
    try:
        first, second = (Cluster(directory) for directory in directories)
        for cluster in (first, second):
            await cluster.forget_durability()
        yield first, second
    finally:
        for directory in directories:
            remove_cluster(directory)


def _url_of(*clusters: Cluster) -> str:
    hosts = "&".join(f"host={Path(each.url('postgres').partition('host=')[2])}" for each in clusters)
    return f"postgresql://postgres@/postgres?{hosts}"


async def _where(database: Database) -> str:
    async with database.reading() as session:
        return str(await session.scalar(text("SHOW data_directory")))


async def _fence(cluster: Cluster, state: str) -> None:
    await cluster.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}", "SELECT pg_reload_conf()")


async def test_lock_and_money_are_on_one_server_through_a_switchover_and_a_failover(
    two: tuple[Cluster, Cluster], open_database: Open
) -> None:
    first, second = two
    here, there = [await _where(open_database(each.url("postgres"))) for each in two]
    url = _url_of(first, second)
    database, lock = open_database(url), desk_lock(url)
    database.pin_server(lambda: lock.server)
    lock.on_doubt = database.doubt
    # A planned switchover, in its middle: no server takes writes.
    for cluster in two:
        await _fence(cluster, "on")
    for connect in (lock.acquire(), _one(database)):
        with pytest.raises(NoServerError, match=r"takes no writes.*takes no writes") as caught:
            await connect
        assert is_away(caught.value)
    await _fence(first, "off")
    await lock.acquire()
    assert await _where(database) == here
    # The other one takes over, and this one is still there.
    await _fence(first, "on")
    await _fence(second, "off")
    await lock.ensure()
    assert await _where(database) == there
    # The former one is taken for one that takes writes again: the money stays where the lock is.
    await _fence(first, "off")
    assert await _where(database) == there
    async with second.stopped():
        for _ in range(2):
            async with asyncio.timeout(WAIT_SECONDS):
                await lock.ensure()
                await _one(database)
        assert await _where(database) == here
    assert str(lock.server) == str(database.server)
    await lock.release()


async def test_a_server_that_takes_no_writes_any_more_is_left_by_every_connection(
    two: tuple[Cluster, Cluster], open_database: Open
) -> None:
    first, second = two
    database = open_database(_url_of(first, second))
    there = await _where(open_database(second.url("postgres")))
    for cluster in two:
        await run(cluster.url("postgres"), "CREATE TABLE kept (id int)")
    await _one(database)
    await _fence(first, "on")

    async def is_fenced() -> bool:
        return await run(first.url("postgres"), "SHOW transaction_read_only") == [("on",)]

    await until(is_fenced)

    async def write() -> None:
        async with database.transaction() as session:
            await session.execute(text("INSERT INTO kept VALUES (1)"))

    async def is_there() -> bool:
        with suppress(DBAPIError, NoServerError):
            await write()
        return bool(await run(second.url("postgres"), "SELECT id FROM kept"))

    # The connection that is there is refused once at most; all others lead to the other server.
    await until(is_there)
    assert (await run(first.url("postgres"), "SELECT id FROM kept"), await _where(database)) == ([], there)

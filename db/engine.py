"""The one door to the database: `transaction()` to write, `reading()` to read.

SQLite has one writer, so writers queue for its one connection in the order of their `Priority`, with readers apart on
connections that cannot write. PostgreSQL has a pool, and its own locks.
"""

import asyncio
import enum
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, NullPool, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

SQLITE_BUSY_MILLISECONDS: Final = 1_000
SQLITE_READERS: Final = 4
POOL_SIZE: Final = 5
URGENT_POOL_SIZE: Final = 3
"""Connections of PostgreSQL for pre-checkouts and intake alone; of the latter one write is in flight at most."""
CONNECT_SECONDS: Final = 3
STATEMENT_SECONDS: Final = 10
LOCK_MILLISECONDS: Final = 1_500


class Priority(enum.IntEnum):
    """Who goes first at SQLite's one write connection, the lower the sooner.

    On PostgreSQL the first two have connections of their own.
    """

    PRE_CHECKOUT = 0
    INTAKE = 1
    WORKER = 2
    RECONCILIATION = 3


class _Turnstile:
    """A lock whose waiters pass in the order of their priority, then of their coming."""

    def __init__(self) -> None:
        self._taken = False
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[None]:
        if self._taken:
            ticket = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (priority, next(self._order), ticket))
            try:
                await ticket
            except asyncio.CancelledError:
                if ticket.done() and not ticket.cancelled():
                    self._pass_on()
                raise
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            ticket = heapq.heappop(self._waiting)[2]
            if not ticket.done():
                ticket.set_result(None)
                return
        self._taken = False


class Database:
    """The engine behind one `DATABASE_URL`, and the transactions on it; services are handed a session."""

    def __init__(self, url: str) -> None:
        """Prepare the engines for `url` (`sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://...`); connects later."""
        parsed = make_url(url)
        self.is_sqlite: Final = parsed.get_backend_name() == "sqlite"
        self._turnstile = _Turnstile()
        if self.is_sqlite:
            self._writer = _sqlite_engine(parsed, connections=1, can_write=True)
            self._reader = _sqlite_engine(parsed, connections=SQLITE_READERS, can_write=False)
            self._urgent = self._writer
        else:
            self._writer = self._reader = _postgresql_engine(parsed, POOL_SIZE)
            # What buyers and Telegram wait for never queues behind the work for a locked user.
            self._urgent = _postgresql_engine(parsed, URGENT_POOL_SIZE)

    @asynccontextmanager
    async def transaction(self, priority: Priority = Priority.WORKER) -> AsyncIterator[AsyncSession]:
        """Open one transaction: committed when the block ends, rolled back when it raises.

        On SQLite it waits for its turn by `priority`; a wait that is cancelled leaves nothing behind.
        """
        if self.is_sqlite:
            async with self._turnstile.turn(priority), _begin(self._writer) as session:
                yield session
        else:
            async with _begin(self._urgent if priority <= Priority.INTAKE else self._writer) as session:
                yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a session to read with; it takes no write lock and cannot write on SQLite."""
        async with _begin(self._reader) as session:
            yield session

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[AsyncConnection]:
        """Open one transaction to change the schema in: without a limit on a statement's time on PostgreSQL.

        To add a column or an index to a large table that was there takes as long as it takes.
        """
        if self.is_sqlite:
            engine = self._writer
        else:
            engine = create_async_engine(
                self._writer.url, poolclass=NullPool, connect_args={"timeout": CONNECT_SECONDS}
            )
        async with engine.begin() as connection:
            yield connection

    def pools(self) -> dict[str, tuple[int, int]]:
        """Return by pool how many connections are in use, and how many there can be."""
        engines = {"writer": self._writer, "reader": self._reader}
        if not self.is_sqlite:
            engines = {"main": self._writer, "urgent": self._urgent}
        pools = {name: engine.pool for name, engine in engines.items()}
        return {name: (pool.checkedout(), pool.size()) for name, pool in pools.items() if isinstance(pool, QueuePool)}

    async def dispose(self) -> None:
        """Close every connection."""
        for engine in {self._writer, self._reader, self._urgent}:
            await engine.dispose()


@asynccontextmanager
async def _begin(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        yield session


def _sqlite_engine(url: URL, *, connections: int, can_write: bool) -> AsyncEngine:
    if can_write and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=STATEMENT_SECONDS, hide_parameters=True
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _entry: ConnectionPoolEntry) -> None:
        # The driver's own idea of when a transaction begins would take no lock before the first write.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        # Without it INSERT OR REPLACE would delete a money row past the trigger that forbids it.
        cursor.execute("PRAGMA recursive_triggers = ON")
        if can_write:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        else:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if can_write else "BEGIN")

    return engine


def _postgresql_engine(url: URL, pool_size: int) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=STATEMENT_SECONDS,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": STATEMENT_SECONDS,
            "server_settings": {
                "application_name": "starledger",
                # An adopted table may have columns with a time zone; what is written without one means UTC.
                "timezone": "UTC",
                "lock_timeout": str(LOCK_MILLISECONDS),
                "idle_in_transaction_session_timeout": str(STATEMENT_SECONDS * 1000),
            },
        },
    )

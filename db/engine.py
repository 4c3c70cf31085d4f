"""Transactions on the database: `transaction()` to write, `reading()` to read, on SQLite or PostgreSQL.

SQLite has one writer, so writers queue for its one connection in the order of their `Priority`, with readers apart on
connections that cannot write. PostgreSQL has a pool, and its own locks; db/address/database_url.py says where it is,
and db/dial.py makes its connections; db/sqlite_driver.py makes SQLite's.
"""

import asyncio
import enum
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import NullPool, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from db.address import Server, SqliteAddress, parse_database_url
from db.dial import Dialer, Pin
from db.liveness import Liveness
from db.private_files import make_private
from db.sqlite_driver import use_one_visit_each
from db.timings import PRODUCTION, Timings

SQLITE_READERS: Final = 4
POOL_SIZE: Final = 5
URGENT_POOL_SIZE: Final = 3
"""PostgreSQL connections for pre-checkouts and intake alone; intake has at most one write in flight."""


class Priority(enum.IntEnum):
    """The order of writers at SQLite's one write connection: the lowest goes first.

    On PostgreSQL the first two have connections of their own.
    """

    PRE_CHECKOUT = 0
    INTAKE = 1
    WORKER = 2
    RECONCILIATION = 3


class _WriterQueue:
    """The queue at SQLite's one write connection, in the order of priority, then of arrival."""

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
                    self._wake_next()
                raise
        self._taken = True
        try:
            yield
        finally:
            self._wake_next()

    def _wake_next(self) -> None:
        while self._waiting:
            ticket = heapq.heappop(self._waiting)[2]
            if not ticket.done():
                ticket.set_result(None)
                return
        self._taken = False


class Database:
    """The database behind one `DATABASE_URL`: engines, and the transactions on them."""

    def __init__(self, url: str, timings: Timings = PRODUCTION, pool_size: int = POOL_SIZE) -> None:
        """Prepare the engines for `url`; connections open later. Raises AddressError."""
        self.timings: Final = timings
        address = parse_database_url(url)
        self.is_sqlite: Final = isinstance(address, SqliteAddress)
        self._writer_queue = _WriterQueue()
        if isinstance(address, SqliteAddress):
            self._writer = _sqlite_engine(address, timings, connections=1, can_write=True)
            self._reader = _sqlite_engine(address, timings, connections=SQLITE_READERS, can_write=False)
            self._urgent = self._writer
            return
        self._dialer = Dialer(address)
        self._liveness = Liveness(self._dialer, timings)
        self._writer = self._reader = self._pool(pool_size)
        # A transaction that a buyer or Telegram waits for never queues behind the work for a locked user.
        self._urgent = self._pool(URGENT_POOL_SIZE)

    @property
    def server(self) -> Server | None:
        """The PostgreSQL server of the latest connection; None: none yet, or the database is a file."""
        return None if self.is_sqlite else self._dialer.server

    def pin_server(self, server: Pin) -> None:
        """Connect only to the server that `server` returns, the one with the desk's lock; None: to any.

        Two servers take writes after a failed fail-over, and the money belongs on the one with the lock.
        """
        if not self.is_sqlite:
            self._dialer.only = server

    def doubt(self) -> None:
        """Mark every pooled connection as doubtful, so that the pool checks each before its next use.

        The caller has seen the server not answer.
        """
        if not self.is_sqlite:
            self._liveness.doubt()

    @asynccontextmanager
    async def transaction(self, priority: Priority = Priority.WORKER) -> AsyncIterator[AsyncSession]:
        """Open one transaction to write: the block's end commits it, an error rolls it back.

        On SQLite it waits for its turn by `priority`; a cancelled wait leaves nothing behind.
        """
        if self.is_sqlite:
            async with self._writer_queue.turn(priority), _begin(self._writer) as session:
                yield session
        else:
            async with _begin(self._urgent if priority <= Priority.INTAKE else self._writer) as session:
                yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a session to read; it takes no write lock, and on SQLite it cannot write."""
        async with _begin(self._reader) as session:
            yield session

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[AsyncConnection]:
        """Open one transaction for a migration, on PostgreSQL without a time limit for statements.

        A new column or index on a large table takes as long as it takes.
        """
        if self.is_sqlite:
            engine = self._writer
        else:
            engine = create_async_engine(self._writer.url, poolclass=NullPool, async_creator=self._dialer.connect)
        async with engine.begin() as connection:
            yield connection

    def pools(self) -> dict[str, tuple[int, int]]:
        """Return, for each pool of connections by its name, the connections in use and its size."""
        engines = {"writer": self._writer, "reader": self._reader}
        if not self.is_sqlite:
            engines = {"main": self._writer, "urgent": self._urgent}
        pools = {name: engine.pool for name, engine in engines.items()}
        return {name: (pool.checkedout(), pool.size()) for name, pool in pools.items() if isinstance(pool, QueuePool)}

    def _pool(self, size: int) -> AsyncEngine:
        statement_seconds = self.timings.statement_seconds
        limits = (
            f"SET LOCAL lock_timeout = {_milliseconds(self.timings.lock_wait_seconds)};"
            f"SET LOCAL idle_in_transaction_session_timeout = {_milliseconds(statement_seconds)};"
        )
        engine = create_async_engine(
            # The dialer connects; this URL only tells the engine's dialect and database.
            URL.create("postgresql+asyncpg", database=self._dialer.address.database),
            async_creator=partial(self._dialer.connect, command_seconds=statement_seconds, limits=limits),
            # A role or a server may default to another level, under which concurrent transactions fail.
            isolation_level="READ COMMITTED",
            pool_size=size,
            max_overflow=0,
            pool_timeout=statement_seconds,
            pool_recycle=1800,
            hide_parameters=True,
        )
        self._liveness.watch(engine)
        return engine

    async def dispose(self) -> None:
        """Close every connection to the database."""
        for engine in {self._writer, self._reader, self._urgent}:
            await engine.dispose()


@asynccontextmanager
async def _begin(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        yield session


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _sqlite_engine(address: SqliteAddress, timings: Timings, *, connections: int, can_write: bool) -> AsyncEngine:
    if can_write:
        make_private(address.path)
    engine = create_async_engine(
        address.url, pool_size=connections, max_overflow=0, pool_timeout=timings.statement_seconds, hide_parameters=True
    )
    # A writer that reads before it takes the lock may be refused it then (sqlite.org/rescode, SQLITE_BUSY_SNAPSHOT).
    use_one_visit_each(engine, "BEGIN IMMEDIATE" if can_write else "BEGIN")

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _entry: ConnectionPoolEntry) -> None:
        # The driver would begin a transaction by itself, and take no lock before the first write.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_milliseconds(timings.sqlite_busy_seconds)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        # Without it INSERT OR REPLACE deletes a money row past the trigger that forbids it.
        cursor.execute("PRAGMA recursive_triggers = ON")
        if can_write:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            # An erased name is overwritten in the file, not only unlinked (sqlite.org/pragma, secure_delete).
            cursor.execute("PRAGMA secure_delete = ON")
        else:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    return engine

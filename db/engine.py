"""The one door to the database: `transaction()` to write, `reading()` to read.

SQLite has one writer, so writers queue for its one connection in the order of their `Priority`, with readers apart on
connections that cannot write. PostgreSQL has a pool, and its own locks; db/address/database_url.py says where it is,
and db/dial.py makes the connections.
"""

import asyncio
import enum
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, NullPool, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from db.address import Server, SqliteAddress, parse
from db.dial import Dialer, Pin
from db.liveness import Liveness
from db.private_files import make_private

SQLITE_BUSY_MILLISECONDS: Final = 1_000
SQLITE_READERS: Final = 4
POOL_SIZE: Final = 5
URGENT_POOL_SIZE: Final = 3
"""Connections of PostgreSQL for pre-checkouts and intake alone; of the latter one write is in flight at most."""
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
        """Prepare the engines for `url`, as db.address.parse reads it; connects later. Raises AddressError."""
        address = parse(url)
        self.is_sqlite: Final = isinstance(address, SqliteAddress)
        self._turnstile = _Turnstile()
        if isinstance(address, SqliteAddress):
            self._writer = _sqlite_engine(address, connections=1, can_write=True)
            self._reader = _sqlite_engine(address, connections=SQLITE_READERS, can_write=False)
            self._urgent = self._writer
            return
        self._dialer = Dialer(address)
        self._liveness = Liveness(self._dialer)
        self._writer = self._reader = self._pool(POOL_SIZE)
        # What buyers and Telegram wait for never queues behind the work for a locked user.
        self._urgent = self._pool(URGENT_POOL_SIZE)

    @property
    def server(self) -> Server | None:
        """The PostgreSQL that the latest connection was made to; None: there was none yet, or it is a file."""
        return None if self.is_sqlite else self._dialer.server

    def stay_with(self, server: Pin) -> None:
        """Use connections to this one server alone, for as long as it is not None: the one that has the desk's lock.

        Of two servers that take writes, as after a fail-over that went wrong, one has the lock, and the money is there.
        """
        if not self.is_sqlite:
            self._dialer.only = server

    def doubt(self) -> None:
        """Ask every pooled connection before it is used again: the server was seen not to answer."""
        if not self.is_sqlite:
            self._liveness.doubt()

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
            engine = create_async_engine(self._writer.url, poolclass=NullPool, async_creator=self._dialer.connect)
        async with engine.begin() as connection:
            yield connection

    def pools(self) -> dict[str, tuple[int, int]]:
        """Return by pool how many connections are in use, and how many there can be."""
        engines = {"writer": self._writer, "reader": self._reader}
        if not self.is_sqlite:
            engines = {"main": self._writer, "urgent": self._urgent}
        pools = {name: engine.pool for name, engine in engines.items()}
        return {name: (pool.checkedout(), pool.size()) for name, pool in pools.items() if isinstance(pool, QueuePool)}

    def _pool(self, size: int) -> AsyncEngine:
        limits = (
            f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS};"
            f"SET LOCAL idle_in_transaction_session_timeout = {int(STATEMENT_SECONDS * 1000)};"
        )
        engine = create_async_engine(
            # How to connect says the dialer; this is for whoever asks the engine what it is.
            URL.create("postgresql+asyncpg", database=self._dialer.address.database),
            async_creator=partial(self._dialer.connect, command_seconds=STATEMENT_SECONDS, limits=limits),
            # A role or a server may have another one, under which what two do at once fails.
            isolation_level="READ COMMITTED",
            pool_size=size,
            max_overflow=0,
            pool_timeout=STATEMENT_SECONDS,
            pool_recycle=1800,
            hide_parameters=True,
        )
        self._liveness.watch(engine)
        return engine

    async def dispose(self) -> None:
        """Close every connection."""
        for engine in {self._writer, self._reader, self._urgent}:
            await engine.dispose()


@asynccontextmanager
async def _begin(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        yield session


def _sqlite_engine(address: SqliteAddress, *, connections: int, can_write: bool) -> AsyncEngine:
    if can_write:
        make_private(address.path)
    engine = create_async_engine(
        address.url, pool_size=connections, max_overflow=0, pool_timeout=STATEMENT_SECONDS, hide_parameters=True
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
            # What a person has had erased is overwritten, not only let go of (sqlite.org/pragma, secure_delete).
            cursor.execute("PRAGMA secure_delete = ON")
        else:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if can_write else "BEGIN")

    return engine

"""One active desk for a database: the lock that it holds from its first poll to its end.

Idempotency never rests on it: the operator's commands run beside the daemon. It keeps two pollers from taking each
other's updates. PostgreSQL: an advisory lock on a connection outside the pool, which the server frees when the process
dies; a second desk stands by and takes over. SQLite: a lock file; a second desk says so and ends.
"""

import asyncio
import fcntl
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import asyncpg
from loguru import logger
from sqlalchemy.engine import make_url

from db.errors import AnotherDeskError, is_away

# "starledger" as 63 bits of ASCII would not fit: its first seven letters and a number of its own.
_DESK_LOCK: Final = 0x737461726C6501
_TRY_SECONDS: Final = 1.0
_CONNECT_SECONDS: Final = 3
_ASK_SECONDS: Final = 2
_PATIENCE_SECONDS: Final = 15.0
"""As long as the server takes to give up a client that vanished."""
_HOLDER: Final = """
    SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
    AND (classid::bigint << 32 | objid::bigint) = $1
"""


class DeskLock(Protocol):
    """The right to poll for a database."""

    is_standing_by: bool
    """Whether `acquire` waits for the desk that has it."""

    async def acquire(self) -> None:
        """Take the lock; PostgreSQL: wait for it as long as it takes. Raises AnotherDeskError on SQLite."""

    async def ensure(self) -> None:
        """Make sure before a write that the lock is held: after a dead connection it is taken again.

        Raises AnotherDeskError when another desk has it now, and the database's errors when it is away.
        """

    async def release(self) -> None:
        """Give the lock back."""


def desk_lock(url: str) -> DeskLock:
    """Return the lock that goes with a `DATABASE_URL`."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _FileLock(Path(f"{parsed.database}.lock"))
    return _AdvisoryLock(parsed.set(drivername="postgresql").render_as_string(hide_password=False))


class _FileLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self.is_standing_by = False

    async def acquire(self) -> None:
        # A start that waits for its database asks again; the lock is not let go in between.
        if self._file is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise AnotherDeskError(f"another desk is running on this database ({self._path} is locked)") from None
        self._file = file

    async def ensure(self) -> None:
        """Do nothing: the kernel keeps the lock for as long as the process lives."""

    async def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _AdvisoryLock:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None
        self._held = False
        self.is_standing_by = False
        # Two at once would open two connections, and one would find the lock taken by the other.
        self._asking = asyncio.Lock()
        # The question that the held connection has not answered yet, and since when by the loop's time.
        self._question: asyncio.Task[Any] | None = None
        self._asked_at = 0.0
        # Each connection has a name of its own: the server may take one that we gave up for alive, and it has the lock.
        self._name = ""
        self._ghost_name = ""

    async def acquire(self) -> None:
        try:
            while not await self._try():
                if not self.is_standing_by:
                    logger.info("another desk is running on this database: standing by")
                    self.is_standing_by = True
                await asyncio.sleep(_TRY_SECONDS)
        finally:
            self.is_standing_by = False

    async def ensure(self) -> None:
        async with self._asking:
            if self._held and await self._is_alive():
                return
            if not await self._try():
                raise AnotherDeskError("another desk has taken over this database")
            logger.info("the desk's lock is taken again")

    async def release(self) -> None:
        if self._connection is not None:
            connection, self._connection, self._held = self._connection, None, False
            if self._question is not None:
                # A question that hangs would keep the farewell waiting.
                connection.terminate()
                await asyncio.wait({self._question})
                return
            try:
                await connection.close(timeout=_ASK_SECONDS)
            except Exception as error:
                if not is_away(error):
                    raise

    async def _is_alive(self) -> bool:
        """Ask the connection that holds the lock: one that is half open looks whole until something is said on it.

        Raises TimeoutError while there is no answer; a server that only hangs still has the lock for us. After
        _PATIENCE_SECONDS without one the connection is given up.
        """
        if self._question is None:
            if self._connection.is_closed():
                return False
            self._question = asyncio.create_task(self._connection.fetchval("SELECT 1", timeout=_PATIENCE_SECONDS + 60))
            self._asked_at = asyncio.get_running_loop().time()
        question = self._question
        # asyncio.wait_for would cancel it, and a cancelled query keeps its connection waiting for the server.
        done, _ = await asyncio.wait({question}, timeout=_ASK_SECONDS)
        if not done:
            if asyncio.get_running_loop().time() - self._asked_at < _PATIENCE_SECONDS:
                raise TimeoutError("the connection that holds the desk's lock does not answer")
            self._connection.terminate()
            await asyncio.wait({question})
        self._question = None
        return question.exception() is None

    async def _try(self) -> bool:
        had_it, self._held = self._held, False
        if had_it:
            # Not one that never had it, such as a connection that could not be made in between.
            self._ghost_name = self._name
        if self._connection is None or self._connection.is_closed():
            self._name = f"starledger lock {uuid4()}"
            self._connection = await self._connect(self._name)
        self._held = bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", _DESK_LOCK))
        if not self._held and self._ghost_name:
            await self._lay_ghost(self._ghost_name)
        return self._held

    async def _lay_ghost(self, name: str) -> None:
        """End a connection of our own that still has the lock; raises TimeoutError when the next try may have it."""
        holder = await self._connection.fetchrow(_HOLDER, _DESK_LOCK)
        if holder is None:
            raise TimeoutError("the desk's lock was let go this moment")
        if holder["application_name"] == name:
            await self._connection.execute("SELECT pg_terminate_backend($1)", holder["pid"])
            raise TimeoutError("the desk's lock is still with the connection that was given up")

    async def _connect(self, name: str) -> Any:
        return await asyncpg.connect(
            self._dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=_ASK_SECONDS,
            server_settings={
                "application_name": name,
                # A machine that vanished without a word frees the lock within 15 seconds.
                "tcp_keepalives_idle": "5",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "2",
            },
        )

"""One active desk for a database: the lock that it holds from its first poll to its end.

Idempotency never rests on it: the operator's commands run beside the daemon. It keeps two pollers from taking each
other's updates. PostgreSQL: an advisory lock on a connection outside the pool, which the server frees when the process
dies; a second desk stands by and takes over. SQLite: a lock file; a second desk says so and ends.
"""

import asyncio
import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

from loguru import logger

from db.address import Server, SqliteAddress, parse
from db.dial import Dialer
from db.errors import AnotherDeskError, is_away
from db.lock.holder import TRY, Holder, find_holder, find_key
from db.lock.proof import pooler_error, poolers_in_words, prove, prove_session
from db.private_files import make_private

_TRY_SECONDS: Final = 1.0
_ASK_SECONDS: Final = 2
_PATIENCE_SECONDS: Final = 15.0
"""As long as the server takes to give up a client that vanished."""
STRANGER_SECONDS: Final = 60.0
"""As long as somebody who is no desk may hold the lock before it is trouble."""
_NAME_BYTES_MAX: Final = 63
_ALIVE: Final = """
    SELECT pg_backend_pid() AS pid, current_setting('transaction_read_only') = 'on' AS is_read_only
    -- holds pg_try_advisory_lock
"""
_IS_TLS: Final = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
# A machine that vanished without a word frees the lock within 15 seconds.
_KEEPALIVE: Final = """
    SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '5', false),
        set_config('tcp_keepalives_count', '2', false)
"""


class DeskLock(Protocol):
    """The right to poll for a database."""

    is_standing_by: bool
    """Whether `acquire` waits for the desk that has it."""
    holder: Holder | None
    """Who has it while we do not, as far as it is known."""
    trouble: str | None
    """What keeps it from us and will not end by itself, in words; None: nothing."""
    on_doubt: Callable[[], None]
    """Called when the server was seen not to answer."""

    @property
    def server(self) -> Server | None:
        """The PostgreSQL where it is held; None: it is not held, or is a file."""

    async def acquire(self) -> None:
        """Take the lock; PostgreSQL: wait for it as long as it takes, and prove that it is ours alone.

        Raises AnotherDeskError on SQLite. PostgreSQL: WrongDatabaseError when the database is another bot's or behind a
        pooler that no lock holds through, UnfitServerError and NoServerError as db.dial.
        """

    async def ensure(self) -> None:
        """Make sure before a write that the lock is held: after a dead connection it is taken again.

        Raises AnotherDeskError when another desk has it now, and the database's errors when it is away.
        """

    async def release(self) -> None:
        """Give the lock back."""


def desk_lock(url: str, bot_id: int = 0) -> DeskLock:
    """Return the lock that goes with a `DATABASE_URL`; `bot_id` 0: of whichever bot's the database is.

    On PostgreSQL each bot in each schema has its own. Raises AddressError.
    """
    address = parse(url)
    if isinstance(address, SqliteAddress):
        return _FileLock(Path(f"{address.url.database}.lock"))
    return _AdvisoryLock(Dialer(address), bot_id)


@dataclass(frozen=True, slots=True)
class LockReport:
    """Where the lock of a database's desk is, and with whom."""

    server: Server
    is_tls: bool
    holder: Holder | None


async def who_holds(url: str, bot_id: int) -> LockReport:
    """Look at the lock of a `DATABASE_URL` of PostgreSQL, and take nothing: for who stands beside the desk.

    Raises WrongDatabaseError as `DeskLock.acquire`, and what db.dial raises.
    """
    address = parse(url)
    if isinstance(address, SqliteAddress):
        raise TypeError("the lock of a file has no server")
    dialer = Dialer(address)
    await prove_session(dialer)
    connection: Any = await dialer.connect(command_seconds=_ASK_SECONDS, caches=False)
    try:
        holder = await find_holder(connection, await find_key(connection, bot_id))
        return LockReport(connection.server, bool(await connection.fetchval(_IS_TLS)), holder)
    finally:
        await connection.close(timeout=_ASK_SECONDS)


def _nothing() -> None:
    pass


class _FileLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self.is_standing_by = False
        self.holder: Holder | None = None
        self.trouble: str | None = None
        self.on_doubt = _nothing
        self.server = None

    async def acquire(self) -> None:
        # A start that waits for its database asks again; the lock is not let go in between.
        if self._file is not None:
            return
        make_private(self._path)
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
    def __init__(self, dialer: Dialer, bot_id: int) -> None:
        self._dialer = dialer
        self._bot_id = bot_id
        self._connection: Any = None
        self._held = False
        # The server's process that holds it: behind one address there may be many.
        self._pid = 0
        self.is_standing_by = False
        self.holder: Holder | None = None
        self.trouble: str | None = None
        self.on_doubt: Callable[[], None] = _nothing
        # Since when somebody who is no desk is seen to hold it, by the loop's time.
        self._stranger_since: float | None = None
        # Two at once would open two connections, and one would find the lock taken by the other.
        self._asking = asyncio.Lock()
        # The question that the held connection has not answered yet, and since when by the loop's time.
        self._question: asyncio.Task[Any] | None = None
        self._asked_at = 0.0
        # Each connection has a name of its own: the server may take one that we gave up for alive, and it has the lock.
        self._name = ""
        self._ghost_name = ""

    @property
    def server(self) -> Server | None:
        return self._connection.server if self._held and self._connection is not None else None

    async def acquire(self) -> None:
        try:
            while not await self._try():
                self._look_at_holder()
                if not self.is_standing_by:
                    logger.info("another desk is running on this database: standing by ({})", self.holder)
                    self.is_standing_by = True
                await asyncio.sleep(_TRY_SECONDS)
        finally:
            self.is_standing_by = False
        self.trouble = self._stranger_since = None
        logger.info("the desk's lock is held, at {}", self.server)

    async def ensure(self) -> None:
        async with self._asking:
            if self._held and await self._is_alive():
                return
            if not await self._try():
                logger.error("the desk's lock is held by {}", self.holder)
                raise AnotherDeskError("another desk has taken over this database")
            logger.info("the desk's lock is taken again, at {}", self.server)

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

    def _look_at_holder(self) -> None:
        """Say it when the lock has been with somebody for long who is no desk: nothing will ever end that by itself."""
        now = asyncio.get_running_loop().time()
        if self.holder is None or self.holder.may_be_desk:
            self.trouble = self._stranger_since = None
            return
        if self._stranger_since is None:
            self._stranger_since = now
        if now - self._stranger_since >= STRANGER_SECONDS:
            if self.trouble is None:
                logger.error("the desk's lock is with somebody who is no desk, and nobody sells: {}", self.holder)
            self.trouble = (
                f"its lock is with somebody who is no desk ({self.holder}): a superuser ends that with"
                f" SELECT pg_terminate_backend({self.holder.pid})"
            )

    async def _is_alive(self) -> bool:
        """Ask the connection that holds the lock: one that is half open looks whole until something is said on it.

        Raises TimeoutError while there is no answer; a server that only hangs still has the lock for us. After
        _PATIENCE_SECONDS without one the connection is given up, and at once where no writes are taken any more.
        """
        if self._question is None:
            if self._connection.is_closed():
                return False
            self._question = asyncio.create_task(self._connection.fetchrow(_ALIVE, timeout=_PATIENCE_SECONDS + 60))
            self._asked_at = asyncio.get_running_loop().time()
        question = self._question
        # asyncio.wait_for would cancel it, and a cancelled query keeps its connection waiting for the server.
        done, _ = await asyncio.wait({question}, timeout=_ASK_SECONDS)
        if not done:
            self.on_doubt()
            if asyncio.get_running_loop().time() - self._asked_at < _PATIENCE_SECONDS:
                raise TimeoutError("the connection that holds the desk's lock does not answer")
            self._connection.terminate()
            await asyncio.wait({question})
        self._question = None
        if question.exception() is not None:
            self.on_doubt()
            return False
        answer = question.result()
        if answer["pid"] != self._pid:
            raise pooler_error()
        if answer["is_read_only"]:
            logger.warning("{} takes no writes any more", self._connection.server)
            self._connection.terminate()
            return False
        return True

    async def _try(self) -> bool:
        had_it, self._held = self._held, False
        if had_it:
            # Not one that never had it, such as a connection that could not be made in between.
            self._ghost_name = self._name
        with poolers_in_words():
            if self._connection is None or self._connection.is_closed():
                self._name = self._new_name()
                self._connection = await self._connect(self._name)
            key = await find_key(self._connection, self._bot_id)
            taken = await self._connection.fetchrow(TRY, key)
            if taken["is_held"]:
                await prove(self._dialer, self._connection, key, taken["pid"])
                self._pid, self._held, self.holder = taken["pid"], True, None
                return True
            self.holder = await find_holder(self._connection, key)
        if self._ghost_name:
            await self._lay_ghost(self._ghost_name)
        return False

    async def _lay_ghost(self, name: str) -> None:
        """End a connection of our own that still has the lock; raises TimeoutError when the next try may have it."""
        if self.holder is None:
            raise TimeoutError("the desk's lock was let go this moment")
        if self.holder.application == name:
            await self._connection.execute("SELECT pg_terminate_backend($1)", self.holder.pid)
            raise TimeoutError("the desk's lock is still with the connection that was given up")

    def _new_name(self) -> str:
        proper = f" lock {uuid4()}"
        # A longer one would be cut by the server, and the connection not be known by it.
        return self._dialer.address.parameters.application_name[: _NAME_BYTES_MAX - len(proper)] + proper

    async def _connect(self, name: str) -> Any:
        connection = await self._dialer.connect(
            application_name=name, command_seconds=_ASK_SECONDS, writes=True, caches=False
        )
        try:
            await connection.fetchrow(_KEEPALIVE)
        except BaseException:
            connection.terminate()
            raise
        return connection

"""The desk's lock on PostgreSQL: an advisory lock on a connection outside the pool.

The server frees the lock when the process dies. A second desk stands by and takes over.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from loguru import logger

from db.address import Server
from db.dial import Dialer
from db.errors import AnotherDeskError, is_away
from db.lock.holder import TRY, Holder, find_holder, find_key
from db.lock.proof import explain_pooler_errors, pooler_error, prove_lock
from db.timings import Timings

_NAME_BYTES_MAX: Final = 63
_ALIVE: Final = """
    SELECT pg_backend_pid() AS pid, current_setting('transaction_read_only') = 'on' AS is_read_only
    -- holds pg_try_advisory_lock
"""
# With these keepalives the server frees the lock of a machine that vanished within 15 seconds.
_KEEPALIVE: Final = """
    SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '5', false),
        set_config('tcp_keepalives_count', '2', false)
"""


class AdvisoryLock:
    """The desk's lock as an advisory lock of PostgreSQL, for one bot in one schema."""

    is_standing_by: bool
    holder: Holder | None
    trouble: str | None
    on_doubt: Callable[[], None]

    def __init__(self, dialer: Dialer, bot_id: int, timings: Timings) -> None:
        self._timings = timings
        self._dialer = dialer
        self._bot_id = bot_id
        self._connection: Any = None
        self._held = False
        # The server's process that holds the lock: behind one address there may be many.
        self._pid = 0
        self.is_standing_by = False
        self.holder = self.trouble = None
        self.on_doubt = lambda: None
        # The loop's time at which we first saw a session that is no desk hold the lock.
        self._stranger_since: float | None = None
        # Two calls at once would open two connections, and one would find the lock taken by the other.
        self._asking = asyncio.Lock()
        # The query that the lock's connection has not answered yet, and the loop's time at which we sent it.
        self._question: asyncio.Task[Any] | None = None
        self._asked_at = 0.0
        # Each connection has its own application name, because the server may believe that a connection which we gave
        # up is alive, and that one holds the lock.
        self._name = ""
        self._lost_name = ""

    @property
    def server(self) -> Server | None:
        """The PostgreSQL server on which we hold the desk's lock; None: we do not hold it."""
        return self._connection.server if self._held and self._connection is not None else None

    async def acquire(self) -> None:
        """Take the desk's lock; stand by while another desk holds it."""
        try:
            while not await self._try_to_lock():
                self._report_stranger()
                if not self.is_standing_by:
                    logger.info("another desk is running on this database: standing by ({})", self.holder)
                    self.is_standing_by = True
                await asyncio.sleep(self._timings.lock_try_seconds)
        finally:
            self.is_standing_by = False
        self.trouble = self._stranger_since = None
        logger.info("the desk's lock is held, at {}", self.server)

    async def ensure(self) -> None:
        """Make sure that we hold the desk's lock; take it again if its connection died."""
        async with self._asking:
            if self._held and await self._is_alive():
                return
            if not await self._try_to_lock():
                logger.error("the desk's lock is held by {}", self.holder)
                raise AnotherDeskError("another desk has taken over this database")
            logger.info("the desk's lock is taken again, at {}", self.server)

    async def release(self) -> None:
        """Close the connection that holds the desk's lock."""
        if self._connection is not None:
            connection, self._connection, self._held = self._connection, None, False
            if self._question is not None:
                # A query that hangs would make close() wait.
                connection.terminate()
                await asyncio.wait({self._question})
                return
            try:
                await connection.close(timeout=self._timings.lock_answer_seconds)
            except Exception as error:
                if not is_away(error):
                    raise

    def _report_stranger(self) -> None:
        """Log an error when a session that is no desk holds the lock for long.

        Somebody has to hear of it, because nothing ends that by itself.
        """
        now = asyncio.get_running_loop().time()
        if self.holder is None or self.holder.may_be_desk:
            self.trouble = self._stranger_since = None
            return
        if self._stranger_since is None:
            self._stranger_since = now
        if now - self._stranger_since >= self._timings.lock_stranger_seconds:
            if self.trouble is None:
                logger.error("a session that is no desk holds the desk's lock, and nobody sells: {}", self.holder)
            self.trouble = (
                f"a session that is no desk holds its lock ({self.holder}): a superuser ends that session with"
                f" SELECT pg_terminate_backend({self.holder.pid})"
            )

    async def _is_alive(self) -> bool:
        """Query the connection that holds the lock.

        Only a query tells, because a half-open connection looks whole until its next use.

        Raises TimeoutError while there is no answer, because a server that only hangs still keeps the lock for us. The
        desk gives the connection up after `lock_patience_seconds` without an answer, and at once where the server takes
        no writes any more.
        """
        if self._question is None:
            if self._connection.is_closed():
                return False
            timeout = self._timings.lock_patience_seconds + 60
            self._question = asyncio.create_task(self._connection.fetchrow(_ALIVE, timeout=timeout))
            self._asked_at = asyncio.get_running_loop().time()
        question = self._question
        # asyncio.wait_for would cancel the query, and a cancelled query makes its connection wait for the server.
        done, _ = await asyncio.wait({question}, timeout=self._timings.lock_answer_seconds)
        if not done:
            self.on_doubt()
            if asyncio.get_running_loop().time() - self._asked_at < self._timings.lock_patience_seconds:
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

    async def _try_to_lock(self) -> bool:
        """Try once to take the lock, and prove it; False: another session holds it."""
        had_it, self._held = self._held, False
        if had_it:
            # Only a connection that held the lock counts, not one that failed in between.
            self._lost_name = self._name
        with explain_pooler_errors():
            if self._connection is None or self._connection.is_closed():
                self._name = self._new_name()
                self._connection = await self._connect(self._name)
            key = await find_key(self._connection, self._bot_id)
            taken = await self._connection.fetchrow(TRY, key)
            if taken["is_held"]:
                await prove_lock(self._dialer, self._connection, key, taken["pid"])
                self._pid, self._held, self.holder = taken["pid"], True, None
                return True
            self.holder = await find_holder(self._connection, key)
        if self._lost_name:
            await self._end_own_lost_session(self._lost_name)
        return False

    async def _end_own_lost_session(self, name: str) -> None:
        """End a lost session of our own that still holds the lock.

        Raises TimeoutError when the next try may get the lock.
        """
        if self.holder is None:
            raise TimeoutError("another session released the desk's lock this moment")
        if self.holder.application == name:
            await self._connection.execute("SELECT pg_terminate_backend($1)", self.holder.pid)
            raise TimeoutError("a connection that the desk gave up still holds the desk's lock")

    def _new_name(self) -> str:
        proper = f" lock {uuid4()}"
        # The server would cut a longer name, and the desk would not recognize its connection by it.
        return self._dialer.address.parameters.application_name[: _NAME_BYTES_MAX - len(proper)] + proper

    async def _connect(self, name: str) -> Any:
        connection = await self._dialer.connect(
            application_name=name, command_seconds=self._timings.lock_answer_seconds, writes=True, caches=False
        )
        try:
            await connection.fetchrow(_KEEPALIVE)
        except BaseException:
            connection.terminate()
            raise
        return connection

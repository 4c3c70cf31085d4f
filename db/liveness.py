"""Checks pooled PostgreSQL connections before their use: a dead one, or one to a former server, serves nobody.

The event loop knows at once of a connection that the other side closed. A connection forgotten on the way, by a NAT or
a machine that vanished, looks whole until somebody sends a statement, and then for as long as a statement may take. So
the pool queries a connection that was idle for a minute before its use, with a short deadline; one dead connection
makes the pool replace all of its age.
"""

import asyncio
import time
from functools import partial
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from db.dial import Dialer
from db.timings import Timings

_READ_ONLY: Final = "25006"
_ANSWERED: Final = "answered"


class Liveness:
    """Checks the pooled PostgreSQL connections of all engines of one dialer, when they are in doubt."""

    def __init__(self, dialer: Dialer, timings: Timings) -> None:
        self._timings = timings
        self._dialer = dialer
        self._doubted_at = 0.0
        self._dead_at = 0.0

    def doubt(self) -> None:
        """Mark every pooled connection as doubtful: the server did not answer, so the pool checks each before use."""
        self._doubted_at = time.monotonic()

    def watch(self, engine: AsyncEngine) -> None:
        """Watch the connections in one engine's pool."""
        target = engine.sync_engine
        event.listen(target, "connect", self._note_answer)
        event.listen(target, "checkin", self._note_answer)
        event.listen(target, "checkout", self._check_before_use)
        event.listen(target, "close", self._close_lost_connection)
        event.listen(target, "handle_error", self._treat_read_only_as_lost)

    @staticmethod
    def _note_answer(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_ANSWERED] = time.monotonic()

    def _check_before_use(self, connection: Any, record: ConnectionPoolEntry, _fairy: Any) -> None:
        driver, only = connection.driver_connection, self._dialer.only()
        answered_at = record.info.get(_ANSWERED, 0.0)
        if driver.is_closed() or (only is not None and driver.server != only):
            self._discard(driver)
        if answered_at <= max(self._doubted_at, time.monotonic() - self._timings.connection_idle_seconds):
            if not connection.run_async(partial(_answers, within_seconds=self._timings.connection_answer_seconds)):
                self._discard(driver)
            record.info[_ANSWERED] = time.monotonic()

    def _discard(self, driver: Any) -> None:
        self._dead_at = time.monotonic()
        driver.terminate()
        raise InvalidatePoolError

    def _close_lost_connection(self, connection: Any, record: ConnectionPoolEntry) -> None:
        # An orderly close towards a server that does not answer would make a buyer wait for two seconds.
        if record.info.get(_ANSWERED, 0.0) <= self._dead_at:
            connection.driver_connection.terminate()

    @staticmethod
    def _treat_read_only_as_lost(context: ExceptionContext) -> None:
        """Treat a server that takes no writes any more as lost.

        Its connections are of no use, because another server has taken over.
        """
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True


async def _answers(driver: Any, *, within_seconds: float) -> bool:
    question = asyncio.ensure_future(driver.fetchval("SELECT 1"))
    # asyncio.wait_for would cancel the query, and a cancelled query makes its connection wait for the server.
    done, _ = await asyncio.wait({question}, timeout=within_seconds)
    if not done:
        driver.terminate()
        await asyncio.wait({question})
    return question.exception() is None

"""No one is served on a connection that died while nobody used it, or that leads to a server of the past.

A connection that the other side has ended is known to the event loop at once. One that was forgotten on the way, by a
NAT or a machine that vanished, looks whole until something is said on it, and then for as long as a statement may take.
So what was idle for a minute is asked first, with a short deadline; when one is dead, all of its age are made anew.
"""

import asyncio
import time
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from db.dial import Dialer

IDLE_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 1.0

_READ_ONLY: Final = "25006"
_ANSWERED: Final = "answered"


class Liveness:
    """Asks the pooled connections of engines that share one dialer whether they are alive, when that is in doubt."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._doubted_at = 0.0
        self._dead_at = 0.0

    def doubt(self) -> None:
        """Ask every connection that there is now before it is used again: the server was seen not to answer."""
        self._doubted_at = time.monotonic()

    def watch(self, engine: AsyncEngine) -> None:
        """Watch one engine's pool."""
        target = engine.sync_engine
        event.listen(target, "connect", self._note)
        event.listen(target, "checkin", self._note)
        event.listen(target, "checkout", self._prove)
        event.listen(target, "close", self._close)
        event.listen(target, "handle_error", self._judge)

    @staticmethod
    def _note(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_ANSWERED] = time.monotonic()

    def _prove(self, connection: Any, record: ConnectionPoolEntry, _fairy: Any) -> None:
        driver, only = connection.driver_connection, self._dialer.only()
        answered_at = record.info.get(_ANSWERED, 0.0)
        if driver.is_closed() or (only is not None and driver.server != only):
            self._give_up(driver)
        if answered_at <= max(self._doubted_at, time.monotonic() - IDLE_SECONDS):
            if not connection.run_async(_answers):
                self._give_up(driver)
            record.info[_ANSWERED] = time.monotonic()

    def _give_up(self, driver: Any) -> None:
        self._dead_at = time.monotonic()
        driver.terminate()
        raise InvalidatePoolError

    def _close(self, connection: Any, record: ConnectionPoolEntry) -> None:
        # A farewell to a server that does not answer would keep a buyer waiting for two seconds.
        if record.info.get(_ANSWERED, 0.0) <= self._dead_at:
            connection.driver_connection.terminate()

    @staticmethod
    def _judge(context: ExceptionContext) -> None:
        """Take a server that takes no writes any more for one that is gone: another one has taken over."""
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True


async def _answers(driver: Any) -> bool:
    question = asyncio.ensure_future(driver.fetchval("SELECT 1"))
    # asyncio.wait_for would cancel it, and a cancelled query keeps its connection waiting for the server.
    done, _ = await asyncio.wait({question}, timeout=ANSWER_SECONDS)
    if not done:
        driver.terminate()
        await asyncio.wait({question})
    return question.exception() is None

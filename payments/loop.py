"""The loop behind worker, outbox and subscriptions: does what is due, sleeps until woken, outlives a lost database."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from loguru import logger

from db.errors import is_away
from payments.pulse import Pulse

IDLE_SECONDS: Final = 10
"""How long a loop sleeps when nobody wakes it; what other processes asked for is found by then."""
SILENT_SECONDS: Final = 120
"""How long one item may take: its transactions, each within the database's time-outs, and a call to Telegram."""


class DueLoop:
    """Repeats `work_once`, which does a bounded piece of what is due and returns how much it found.

    `is_stopping` tells it to leave the rest of its piece. It calls `beat` before each item. `trouble` says what keeps
    the loop from its work, None: nothing.
    """

    def __init__(self, name: str, work_once: Callable[[], Awaitable[int]]) -> None:
        self._name = name
        self._work_once = work_once
        self._wakened = asyncio.Event()
        self._rest_seconds: float = IDLE_SECONDS
        self.is_stopping = False
        self.pulse = Pulse()
        self.trouble: str | None = None

    def wake(self) -> None:
        """Say that something has become due in this process."""
        self._wakened.set()

    def rest_at_most(self, seconds: float) -> None:
        """Let the sleep after this piece end sooner than it would: something is going to be due by then."""
        self._rest_seconds = min(self._rest_seconds, seconds)

    def stop(self) -> None:
        """Let `run` end after the piece that is under way."""
        self.is_stopping = True
        self._wakened.set()

    def beat(self) -> None:
        """Show that the loop goes on."""
        self.pulse.beat(SILENT_SECONDS)

    async def run(self) -> None:
        """Work until stopped. An outage is logged once, and once when it is over; a bug ends the loop."""
        while not self.is_stopping:
            # Cleared before the look, so that what becomes due during it wakes the next one.
            self._wakened.clear()
            self._rest_seconds = IDLE_SECONDS
            if await self._work() or self.is_stopping:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rest_seconds):
                    await self._wakened.wait()
        self.pulse.rest()

    async def _work(self) -> int:
        self.beat()
        try:
            found = await self._work_once()
        except Exception as error:
            if not is_away(error):
                raise
            if self.trouble is None:
                logger.error("the database is away, the {} waits: {}", self._name, type(error).__name__)
            self.trouble = f"the database is away: {type(error).__name__}"
            return 0
        if self.trouble is not None:
            logger.info("the database is back, the {} goes on", self._name)
            self.trouble = None
        return found

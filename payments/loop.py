"""The loop behind the worker and the outbox: does what is due, sleeps until woken, outlives a database that is away."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from loguru import logger

from db.errors import is_away

IDLE_SECONDS: Final = 10
"""How long a loop sleeps when nobody wakes it; what other processes asked for is found by then."""


class DueLoop:
    """Repeats `work_once`, which does a bounded piece of what is due and returns how much it found.

    `is_stopping` tells it to leave the rest of its piece.
    """

    def __init__(self, name: str, work_once: Callable[[], Awaitable[int]]) -> None:
        self._name = name
        self._work_once = work_once
        self._wakened = asyncio.Event()
        self.is_stopping = False
        self._is_away = False

    def wake(self) -> None:
        """Say that something has become due in this process."""
        self._wakened.set()

    def stop(self) -> None:
        """Let `run` end after the piece that is under way."""
        self.is_stopping = True
        self._wakened.set()

    async def run(self) -> None:
        """Work until stopped. An outage is logged once, and once when it is over; a bug ends the loop."""
        while not self.is_stopping:
            # Cleared before the look, so that what becomes due during it wakes the next one.
            self._wakened.clear()
            if await self._work() or self.is_stopping:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._wakened.wait()

    async def _work(self) -> int:
        try:
            found = await self._work_once()
        except Exception as error:
            if not is_away(error):
                raise
            if not self._is_away:
                logger.error("the database is away, the {} waits: {}", self._name, type(error).__name__)
            self._is_away = True
            return 0
        if self._is_away:
            logger.info("the database is back, the {} goes on", self._name)
            self._is_away = False
        return found

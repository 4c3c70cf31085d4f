"""A numbered feed of what has changed, so that a page or a test waits for a condition without asking in a loop."""

import asyncio
from collections import deque
from typing import Any

EVENTS_KEPT = 10_000


class Feed:
    """The last 10,000 changes, and those who wait for the next one."""

    def __init__(self) -> None:
        self.last = 0
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._waiting: set[asyncio.Future[None]] = set()

    def publish(self, topic: str, **facts: object) -> None:
        """Give a change its number, keep it, and wake all who wait."""
        self.last += 1
        self._events.append({"n": self.last, "topic": topic, **facts})
        self.wake()

    def wake(self) -> None:
        """Let all who wait look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def after(self, number: int) -> list[dict[str, Any]]:
        """Give the kept changes with a higher number, oldest first."""
        fresh = min(self.last - number, len(self._events))
        return [self._events[-position] for position in range(fresh, 0, -1)]

    async def wait(self, after: int, timeout_seconds: float) -> list[dict[str, Any]]:
        """Give the changes after a number; wait for the first one up to `timeout_seconds` of real time."""
        if self.last <= after:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                async with asyncio.timeout(timeout_seconds):
                    await future
            except TimeoutError:
                return []
            finally:
                self._waiting.discard(future)
        return self.after(after)

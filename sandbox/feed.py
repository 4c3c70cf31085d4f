"""The feed of events: a numbered log of the sandbox's changes, which a page or a test waits for without polling."""

import asyncio
from collections import deque
from typing import Any

EVENTS_KEPT = 10_000


class Feed:
    """The feed of the last 10,000 events, and the callers that wait for the next one."""

    def __init__(self) -> None:
        self.last = 0
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._waiting: set[asyncio.Future[None]] = set()

    def publish(self, topic: str, **facts: object) -> None:
        """Add a change to the feed under the next number, and wake all callers that wait."""
        self.last += 1
        self._events.append({"n": self.last, "topic": topic, **facts})
        self.wake()

    def wake(self) -> None:
        """Wake all callers that wait for the feed."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def after(self, number: int) -> list[dict[str, Any]]:
        """Return the feed's events with a higher number, oldest first."""
        fresh = min(self.last - number, len(self._events))
        return [self._events[-position] for position in range(fresh, 0, -1)]

    async def wait(self, after: int, timeout_seconds: float) -> list[dict[str, Any]]:
        """Return the feed's events after a number; wait for the first one up to `timeout_seconds` of real time."""
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

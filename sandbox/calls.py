"""The log of the bot's calls to the Bot API, with the answers."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.clock import VirtualClock
from sandbox.feed import Feed

CALLS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One logged call; `status` 0 means that a fault cut the connection. It names files, and leaves the token out.

    `took_ms`: milliseconds from its coming to its answer, latency and faults included.
    """

    number: int
    at: datetime
    method: str
    args: dict[str, str]
    status: int
    answer: dict[str, Any]
    took_ms: int


class CallLog:
    """The last 10,000 calls of the bot."""

    def __init__(self, clock: VirtualClock, feed: Feed) -> None:
        self._calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self._count = 0
        self._clock = clock
        self._feed = feed

    def add(self, method: str, args: dict[str, str], status: int, answer: dict[str, Any], took_ms: int) -> None:
        """Log a call of the bot."""
        self._count += 1
        self._calls.append(Call(self._count, self._clock.now(), method, args, status, answer, took_ms))
        self._feed.publish("call", method=method, status=status)

    def listing(self, *, method: str | None = None, after: int = 0) -> list[Call]:
        """Return the logged calls after a number, oldest first, of one method (in any case) or of all."""
        wanted = method and method.lower()
        return [call for call in self._calls if call.number > after and wanted in (None, call.method.lower())]

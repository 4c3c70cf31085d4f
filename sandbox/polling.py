"""getUpdates: long polls, the throttle of busy loops, and 409 for the older of two pollers.

The rules are those of Client.cpp: process_get_updates_query, do_get_updates, abort_long_poll. A poll is a matter of the
connection, so its seconds are real ones, not the virtual clock's.
"""

import asyncio
from time import monotonic

from sandbox.args import Args
from sandbox.errors import ApiError
from sandbox.feed import Feed
from sandbox.shapes import Json
from sandbox.updates import UpdateQueue

TIMEOUT_SECONDS_MAX = 50
THROTTLE_SECONDS = 3
BUSY_SECONDS = 0.5
CONFLICT_PAUSE_SECONDS = 3.0
CONFLICT = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"


class Poller:
    """The poller of getUpdates, the one place where updates leave; it holds at most one call."""

    def __init__(self, queue: UpdateQueue, feed: Feed) -> None:
        self._queue = queue
        self._feed = feed
        self._offset: int | None = None
        self._started_at = 0.0
        self._held: asyncio.Future[bool] | None = None
        self._next_conflict_at = 0.0

    async def get_updates(self, args: Args) -> list[Json]:
        """Answer a getUpdates call; raises ApiError 409 when a newer long poll replaces it."""
        offset = args.integer("offset")
        limit = args.integer("limit", 100, 1, 100)
        timeout_seconds = args.integer("timeout", 0, 0, TIMEOUT_SECONDS_MAX)
        self._queue.allow(args.text("allowed_updates"))
        now = monotonic()
        if offset == self._offset:
            if timeout_seconds < THROTTLE_SECONDS and now < self._started_at + THROTTLE_SECONDS:
                timeout_seconds = THROTTLE_SECONDS
            if now < self._started_at + BUSY_SECONDS:
                limit = 1
        self._offset, self._started_at = offset, now
        if offset < 0:
            self._queue.keep_last(-offset)
        if offset <= 0:
            offset = self._queue.head()
        updates = self._queue.take(offset, limit)
        if updates or not timeout_seconds:
            return updates
        if await self._replaced_while_held(timeout_seconds):
            await self._pause_repeated_conflict()
            raise ApiError(409, CONFLICT)
        return self._queue.take(offset, limit)

    @property
    def holding(self) -> bool:
        """Tell whether a getUpdates call is open: the bot waits for updates."""
        return self._held is not None

    def wake(self) -> None:
        """Answer the held getUpdates call with the updates that wait."""
        self._settle(replaced=False)

    def _settle(self, *, replaced: bool) -> None:
        if self._held is not None and not self._held.done():
            self._held.set_result(replaced)

    async def _replaced_while_held(self, timeout_seconds: int) -> bool:
        self._settle(replaced=True)
        held: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._held = held
        self._feed.publish("poll")
        try:
            async with asyncio.timeout(timeout_seconds):
                return await held
        except TimeoutError:
            return False
        finally:
            if self._held is held:
                self._held = None
                self._feed.publish("poll")

    async def _pause_repeated_conflict(self) -> None:
        now = monotonic()
        if now < self._next_conflict_at:
            await asyncio.sleep(CONFLICT_PAUSE_SECONDS)
        else:
            self._next_conflict_at = now + CONFLICT_PAUSE_SECONDS

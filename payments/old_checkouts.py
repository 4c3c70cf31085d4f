"""Pre-checkouts of long ago are forgotten: nobody looks for their payments any more (stripe/lost_payments.py)."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from loguru import logger
from sqlalchemy import Select, delete, select

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_away
from db.tables import Checkout

KEPT_DAYS: Final = 90
BATCH_MAX: Final = 500
LOOK_AGAIN: Final = timedelta(hours=1)
PAUSE_SECONDS: Final = 5.0
"""From batch to batch, and from look to look at the clock."""


class OldCheckouts:
    """Takes old pre-checkouts away, a batch at a time, so that no buyer waits behind it."""

    def __init__(self, database: Database, clock: Clock, telegram_now: Clock | None = None) -> None:
        """Prepare; `telegram_now` gives Telegram's present (None: the clock is Telegram's).

        The earlier of the two counts. No row goes by a clock that is ahead, nor one that a clock behind has dated.
        """
        self._database = database
        self._clock = clock
        self._telegram_now = telegram_now or clock
        self._looked_at: datetime | None = None

    async def run(self) -> None:
        """Look once an hour, until cancelled. What goes wrong is tried again in the next hour."""
        while True:
            try:
                await self.sweep_once()
            except Exception as error:  # noqa: BLE001 - rows that stay longer are no reason to stop selling
                bug = None if is_away(error) else error
                logger.opt(exception=bug).warning("old pre-checkouts stay for now: {}", type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)

    async def sweep_once(self) -> int:
        """Take away a batch of those older than 90 days, if it is time to; return how many there were.

        Raises SQLAlchemy's errors when the database is away.
        """
        now = min(self._clock(), self._telegram_now())
        if self._looked_at is not None and abs(now - self._looked_at) < LOOK_AGAIN:
            return 0
        before, self._looked_at = self._looked_at, now
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            old = (await session.scalars(select_old(now))).all()
            if old:
                await session.execute(delete(Checkout).where(Checkout.query_id.in_(old)))
        if len(old) == BATCH_MAX:
            self._looked_at = before
        return len(old)


def select_old(now: datetime) -> Select[str]:
    """Select the ids of the next pre-checkouts that are too old to be kept, the oldest first."""
    query = select(Checkout.query_id).where(Checkout.created_at < now - timedelta(days=KEPT_DAYS))
    return query.order_by(Checkout.created_at).limit(BATCH_MAX)

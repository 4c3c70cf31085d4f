"""The alert to the admins that another poller, or a webhook, takes the bot's updates (409): a person has to end it."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_away
from payments.notices import Admins, Notice
from payments.telegram_errors import names_webhook

QUIET_MINUTES: Final = 60
"""An episode ends after so long without a conflict: within one, the two pollers take turns."""
OWE_SECONDS: Final = 2.0


class ConflictAlert:
    """Owes the admins one notice for each episode of conflicts, and one a day for a webhook that is set.

    One write is in flight at most.
    """

    def __init__(self, database: Database, clock: Clock, admins: Admins, on_owed: Callable[[], None]) -> None:
        """Make the alert; it calls `on_owed` when a notice is due."""
        self._database = database
        self._clock = clock
        self._admins = admins
        self._on_owed = on_owed
        self._seen_at: datetime | None = None
        self._began_at: datetime | None = None
        self._owed: dict[Notice, str] = {}
        self._owing: asyncio.Task[None] | None = None

    async def note(self, why: str) -> None:
        """Note a conflict, `why` in Telegram's words, and owe its notice, once the database can record it."""
        now = self._clock()
        notice, event_id = (Notice.WEBHOOK, f"webhook:{now:%Y-%m-%d}") if names_webhook(why) else self._episode(now)
        if self._owed.get(notice) == event_id:
            return
        if self._owing is None or self._owing.done():
            self._owing = asyncio.create_task(self._owe(notice, event_id, why, now))
        # The poll must not wait for a database that hangs.
        await asyncio.wait({self._owing}, timeout=OWE_SECONDS)

    def _episode(self, now: datetime) -> tuple[Notice, str]:
        began_at = self._began_at
        if began_at is None or self._seen_at is None or now - self._seen_at > timedelta(minutes=QUIET_MINUTES):
            began_at = now
        self._began_at, self._seen_at = began_at, now
        return Notice.CONFLICT, f"conflict:{began_at.isoformat()}"

    async def _owe(self, notice: Notice, event_id: str, why: str, now: datetime) -> None:
        try:
            async with self._database.transaction(Priority.INTAKE) as session:
                await self._admins.tell(session, notice, event_id, {"why": why}, now)
        except Exception as error:  # noqa: BLE001 - what cannot be told is no reason to end the poll
            bug = None if is_away(error) else error
            logger.opt(exception=bug).error("the notice of a conflict cannot be recorded yet: {}", type(error).__name__)
        else:
            self._owed[notice] = event_id
            self._on_owed()

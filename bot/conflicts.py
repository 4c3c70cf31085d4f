"""Tells the admins that another program polls with the same token: a person has to end such a conflict (409)."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_away
from payments.notices import Notice, owe

QUIET_MINUTES: Final = 60
"""So long without a conflict ends an episode: between two of them each poller has its turns."""
OWE_SECONDS: Final = 2.0


class ConflictAlert:
    """Owes the admins one notice for each episode of conflicts. One write is in flight at most."""

    def __init__(
        self, database: Database, clock: Clock, alert_chat_ids: Sequence[int], on_owed: Callable[[], None]
    ) -> None:
        """Prepare; `on_owed` is called when a notice has become due."""
        self._database = database
        self._clock = clock
        self._alert_chat_ids = tuple(alert_chat_ids)
        self._on_owed = on_owed
        self._seen_at: datetime | None = None
        self._is_owed = False
        self._owing: asyncio.Task[None] | None = None

    async def note(self, why: str) -> None:
        """Take note of a conflict, `why` in Telegram's words. Without its database it tries again at the next one."""
        now = self._clock()
        if self._seen_at is None or now - self._seen_at > timedelta(minutes=QUIET_MINUTES):
            self._is_owed = False
        self._seen_at = now
        if self._is_owed:
            return
        if self._owing is None or self._owing.done():
            self._owing = asyncio.create_task(self._owe(why, now))
        # The poll must not wait for a database that hangs.
        await asyncio.wait({self._owing}, timeout=OWE_SECONDS)

    async def _owe(self, why: str, now: datetime) -> None:
        try:
            async with self._database.transaction(Priority.INTAKE) as session:
                for chat_id in self._alert_chat_ids:
                    await owe(
                        session,
                        Notice.CONFLICT,
                        event_id=f"conflict:{now.isoformat()}",
                        chat_id=chat_id,
                        facts={"why": why},
                        now=now,
                    )
        except Exception as error:  # noqa: BLE001 - what cannot be told is no reason to end the poll
            bug = None if is_away(error) else error
            logger.opt(exception=bug).error("the admins cannot be told of a conflict yet: {}", type(error).__name__)
        else:
            self._is_owed = True
            self._on_owed()

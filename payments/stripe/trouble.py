"""Tells the admins of trouble at Stripe that a person has to mend, once for each, also across restarts.

That events cannot be read is one trouble until they are read again: it is known by the day of the last reading, so
that a Stripe which comes and goes is told of once a day at most.
"""

import enum
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from loguru import logger
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.tables import StripeReading
from payments.errors import RefusedByChannelError
from payments.events import ERROR_LENGTH_MAX
from payments.notices import Notice, owe
from payments.stripe.api import KEY_REFUSED

AWAY_HOURS: Final = 6
"""How long nothing but outages is Stripe's own matter, and stays in the log and in /healthz."""


class Trouble(enum.StrEnum):
    """Why what happens at Stripe does not take effect here."""

    KEY = "key"
    """Stripe does not know the key in STRIPE_SECRET_KEY."""
    REFUSED = "refused"
    """Stripe refuses the events, as to a key that may not read them."""
    AWAY = "away"
    """For hours Stripe has not answered, or not as Stripe does."""
    GAP = "gap"
    """The events were not read for longer than Stripe keeps them."""


async def owe_trouble(
    session: AsyncSession,
    trouble: Trouble,
    *,
    read_at: datetime | None,
    why: str,
    chat_ids: Sequence[int],
    now: datetime,
) -> None:
    """Owe these chats word of a trouble; `read_at` is when the events were last read (None: never), `why` in words."""
    facts = {"trouble": trouble.value, "why": why, "read_at": read_at.isoformat() if read_at else None}
    episode = f"{read_at:%Y-%m-%d}" if read_at else "never"
    for chat_id in chat_ids:
        key = f"stripe:{trouble}:{episode}"
        await owe(session, Notice.STRIPE_TROUBLE, event_id=key, chat_id=chat_id, facts=facts, now=now)


class TroubleAlert:
    """Judges the attempts to read Stripe's events that fail."""

    def __init__(
        self, database: Database, clock: Clock, alert_chat_ids: Sequence[int], on_owed: Callable[[], None]
    ) -> None:
        """Prepare; `on_owed` is called when a notice has become due."""
        self._database = database
        self._clock = clock
        self._alert_chat_ids = tuple(alert_chat_ids)
        self._on_owed = on_owed
        self._failing_since: datetime | None = None
        self._told: set[Trouble] = set()

    async def note(self, error: Exception) -> None:
        """Take note of a failed attempt. Without its database it tells with the next one."""
        now = self._clock()
        self._failing_since = self._failing_since or now
        trouble = _trouble(error, now - self._failing_since)
        if trouble is None or trouble in self._told:
            return
        try:
            async with self._database.transaction() as session:
                read_at = await session.scalar(select(StripeReading.read_at))
                why = str(error)[:ERROR_LENGTH_MAX]
                await owe_trouble(session, trouble, read_at=read_at, why=why, chat_ids=self._alert_chat_ids, now=now)
        except Exception as away:
            if not is_away(away):
                raise
            logger.error("the admins cannot be told of trouble at Stripe yet: {}", type(away).__name__)
        else:
            self._told.add(trouble)
            self._on_owed()

    def over(self) -> None:
        """Say that the events were read."""
        self._failing_since = None
        self._told.clear()


def _trouble(error: Exception, lasting: timedelta) -> Trouble | None:
    """Return what a person has to hear of; None: it may pass by itself."""
    if isinstance(error, RefusedByChannelError):
        return Trouble.KEY if error.code == KEY_REFUSED else Trouble.REFUSED
    return Trouble.AWAY if lasting >= timedelta(hours=AWAY_HOURS) else None

"""Tells the admins of trouble at Stripe that a person has to mend, once a day as long as it lasts, by the days of UTC.

What was told is on record by trouble and day, and how long it has lasted by the last reading: a restart forgets
neither.
"""

import enum
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Final

from loguru import logger
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.tables import StripeReading
from payments.audit.transitions import ERROR_LENGTH_MAX
from payments.errors import ChannelError, ChannelPauseError, RefusedByChannelError, UnrecordableError
from payments.notices import Admins, Notice
from payments.pause import SECONDS_MAX
from payments.stripe.api import KEY_REFUSED

AWAY_HOURS: Final = 6
"""How long nothing but outages is Stripe's own matter, and stays in the log and in /healthz."""
AWAY_MINUTES: Final = 10
"""How long this process, too, has to have heard nothing: that the desk was down for days says nothing of Stripe."""


class StripeTrouble(enum.StrEnum):
    """Why what happens at Stripe does not take effect here."""

    KEY = "key"
    """Stripe does not know the key in STRIPE_SECRET_KEY."""
    REFUSED = "refused"
    """Stripe refuses the events, as to a key that may not read them."""
    CHARGES = "charges"
    """Stripe refuses its charges: payments whose update was lost are not found."""
    AWAY = "away"
    """For hours Stripe has not answered, or not as Stripe does."""
    GAP = "gap"
    """The events were not read for longer than Stripe keeps them."""


async def owe_trouble(
    session: AsyncSession,
    trouble: StripeTrouble,
    *,
    read_at: datetime | None,
    why: str,
    admins: Admins,
    now: datetime,
) -> None:
    """Owe the admins word of a trouble; `read_at` is when the events were last read (None: never), `why` in words."""
    facts = {"trouble": trouble.value, "why": why, "read_at": read_at.isoformat() if read_at else None}
    await admins.tell(session, Notice.STRIPE_TROUBLE, f"stripe:{trouble}:{now:%Y-%m-%d}", facts, now)


class TroubleAlert:
    """Judges the attempts to read from Stripe that fail."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        admins: Admins,
        on_owed: Callable[[], None],
        *,
        refused: StripeTrouble = StripeTrouble.REFUSED,
    ) -> None:
        """Prepare; `on_owed` is called when a notice has become due, and a refusal is told as `refused`."""
        self._database = database
        self._clock = clock
        self._admins = admins
        self._on_owed = on_owed
        self._refused = refused
        self._failing_since: datetime | None = None
        self._told_on: dict[StripeTrouble, date] = {}

    async def note(self, error: Exception) -> None:
        """Take note of a failed attempt. Without its database it tells with the next one."""
        now = self._clock()
        self._failing_since = self._failing_since or now
        try:
            async with self._database.transaction() as session:
                read_at = await session.scalar(select(StripeReading.read_at))
                trouble = self._trouble(error, now - (read_at or self._failing_since), now - self._failing_since)
                if trouble is None or self._told_on.get(trouble) == now.date():
                    return
                why = str(error)[:ERROR_LENGTH_MAX]
                await owe_trouble(session, trouble, read_at=read_at, why=why, admins=self._admins, now=now)
        except Exception as away:
            if not is_away(away):
                raise
            logger.error("the admins cannot be told of trouble at Stripe yet: {}", type(away).__name__)
        else:
            self._told_on[trouble] = now.date()
            self._on_owed()

    def over(self) -> None:
        """Say that an attempt has worked."""
        self._failing_since = None

    def _trouble(self, error: Exception, lasting: timedelta, seen: timedelta) -> StripeTrouble | None:
        """Return what a person has to hear of; None: it may pass by itself. `seen`: for how long in this process."""
        if isinstance(error, RefusedByChannelError):
            return StripeTrouble.KEY if error.code == KEY_REFUSED else self._refused
        is_long = lasting >= timedelta(hours=AWAY_HOURS) and seen >= timedelta(minutes=AWAY_MINUTES)
        return StripeTrouble.AWAY if is_long else None


class Attempts:
    """The attempts to read one kind of Stripe's objects. An outage is logged once, and once when it is over."""

    def __init__(self, objects: str, alert: TroubleAlert) -> None:
        """Prepare; `objects` names what is read, in the plural."""
        self._objects = objects
        self._alert = alert
        self.trouble: str | None = None
        """What keeps it from being read, in words without secrets; None: the last attempt worked."""

    async def make(self, read: Callable[[], Awaitable[None]]) -> float:
        """Try once; return for how long Stripe asks to be left alone, in seconds, an hour at most. Raises bugs."""
        try:
            await read()
        except ChannelPauseError as error:
            self._begin(error, "Stripe asks to be left alone for a while")
            await self._alert.note(error)
            return min(error.seconds, SECONDS_MAX)
        except Exception as error:
            is_stripe = isinstance(error, ChannelError | UnrecordableError)
            if not is_stripe and not is_away(error):
                raise
            self._begin(error, type(error).__name__)
            if is_stripe:
                await self._alert.note(error)
        else:
            if self.trouble is not None:
                logger.info("Stripe's {} are read again", self._objects)
            self.trouble = None
            self._alert.over()
        return 0

    def _begin(self, error: Exception, why: str) -> None:
        if self.trouble is None:
            logger.error("Stripe's {} cannot be read, trying on: {}", self._objects, error)
        self.trouble = f"Stripe's {self._objects} cannot be read: {why}"

"""Tells the admins of trouble at Stripe that a person has to mend, once a day (UTC) while it lasts.

The outbox has each trouble by day, and the last reading's date shows how long it lasts: both survive a restart.
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
from db.limits import ERROR_LENGTH_MAX
from db.tables import StripeReading
from payments.errors import ChannelError, ChannelPauseError, RefusedByChannelError, UnrecordableError
from payments.notices import Admins, Notice
from payments.pause import SECONDS_MAX
from payments.stripe.api import KEY_REFUSED

AWAY_HOURS: Final = 6
"""An outage of Stripe stays in the log and /healthz alone for so long; then the admins get a notice."""
AWAY_MINUTES: Final = 10
"""This process must have failed for so long too, because a desk that stood still for days proves nothing about Stripe.
"""


class StripeTrouble(enum.StrEnum):
    """A reason why the desk misses events at Stripe."""

    KEY = "key"
    """Stripe does not know the key in STRIPE_SECRET_KEY."""
    REFUSED = "refused"
    """Stripe refuses to list its events, for example because the key may not read them."""
    CHARGES = "charges"
    """Stripe refuses to list its charges, so that the desk cannot find lost payments."""
    AWAY = "away"
    """For hours Stripe has left calls unanswered, or the answers are unlike Stripe's."""
    GAP = "gap"
    """The desk's last reading of events is older than the events that Stripe keeps."""


async def owe_trouble_notice(
    session: AsyncSession,
    trouble: StripeTrouble,
    *,
    read_at: datetime | None,
    why: str,
    admins: Admins,
    now: datetime,
) -> None:
    """Owe the admins a notice of trouble at Stripe.

    `read_at` is the time of the last reading of events (None: no reading so far); `why` is the reason in words.
    """
    facts = {"trouble": trouble.value, "why": why, "read_at": read_at.isoformat() if read_at else None}
    await admins.tell(session, Notice.STRIPE_TROUBLE, f"stripe:{trouble}:{now:%Y-%m-%d}", facts, now)


class TroubleAlert:
    """Judges failed readings from Stripe, and tells the admins of lasting trouble."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        admins: Admins,
        on_owed: Callable[[], None],
        *,
        refused: StripeTrouble = StripeTrouble.REFUSED,
    ) -> None:
        """Prepare; calls `on_owed` when a notice is due; `refused` is the trouble behind a refusal by Stripe."""
        self._database = database
        self._clock = clock
        self._admins = admins
        self._on_owed = on_owed
        self._refused = refused
        self._failing_since: datetime | None = None
        self._told_on: dict[StripeTrouble, date] = {}

    async def note_failure(self, error: Exception) -> None:
        """Note a failed reading from Stripe, and owe the admins a notice of trouble.

        While the database is away there is no notice; the next failed reading makes up for it.
        """
        now = self._clock()
        self._failing_since = self._failing_since or now
        try:
            async with self._database.transaction() as session:
                read_at = await session.scalar(select(StripeReading.read_at))
                trouble = self._judge_trouble(error, now - (read_at or self._failing_since), now - self._failing_since)
                if trouble is None or self._told_on.get(trouble) == now.date():
                    return
                why = str(error)[:ERROR_LENGTH_MAX]
                await owe_trouble_notice(session, trouble, read_at=read_at, why=why, admins=self._admins, now=now)
        except Exception as away:
            if not is_away(away):
                raise
            logger.error("the admins cannot be told of trouble at Stripe yet: {}", type(away).__name__)
        else:
            self._told_on[trouble] = now.date()
            self._on_owed()

    def note_success(self) -> None:
        """Note that a reading from Stripe has worked, which ends the trouble."""
        self._failing_since = None

    def _judge_trouble(self, error: Exception, lasting: timedelta, seen: timedelta) -> StripeTrouble | None:
        """Return the trouble at Stripe that an admin must mend; None: it may pass by itself.

        `lasting` is the time since the last reading that worked, `seen` the time for which this process has failed.
        """
        if isinstance(error, RefusedByChannelError):
            return StripeTrouble.KEY if error.code == KEY_REFUSED else self._refused
        is_long = lasting >= timedelta(hours=AWAY_HOURS) and seen >= timedelta(minutes=AWAY_MINUTES)
        return StripeTrouble.AWAY if is_long else None


class Attempts:
    """Attempts to read one kind of Stripe's objects. The log has one line for an outage, and one for its end."""

    def __init__(self, objects: str, alert: TroubleAlert) -> None:
        """Prepare; `objects` is Stripe's word for the objects, in the plural."""
        self._objects = objects
        self._alert = alert
        self.trouble: str | None = None
        """The reason why the last attempt to read from Stripe failed, in words without secrets; None: it worked."""

    async def try_reading(self, read: Callable[[], Awaitable[None]]) -> float:
        """Try to read from Stripe and note trouble; return the pause in seconds that Stripe asks for.

        The pause is an hour at most. Raises bugs.
        """
        try:
            await read()
        except ChannelPauseError as error:
            self._log_outage_once(error, "Stripe asks to be left alone for a while")
            await self._alert.note_failure(error)
            return min(error.seconds, SECONDS_MAX)
        except Exception as error:
            is_stripe = isinstance(error, ChannelError | UnrecordableError)
            if not is_stripe and not is_away(error):
                raise
            self._log_outage_once(error, type(error).__name__)
            if is_stripe:
                await self._alert.note_failure(error)
        else:
            if self.trouble is not None:
                logger.info("Stripe's {} are read again", self._objects)
            self.trouble = None
            self._alert.note_success()
        return 0

    def _log_outage_once(self, error: Exception, why: str) -> None:
        """Log the beginning of an outage of Stripe once, and keep its reason."""
        if self.trouble is None:
            logger.error("Stripe's {} cannot be read, trying on: {}", self._objects, error)
        self.trouble = f"Stripe's {self._objects} cannot be read: {why}"

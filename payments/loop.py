"""DueLoop, the loop over due rows of worker, outbox and subscriptions, with its Pulse, its Gate and its Cooldown.

The loop does what is due, sleeps until woken, and outlives a lost database. The conditions of due and claimed rows are
here, and the backoff of a row that failed.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from loguru import logger
from sqlalchemy import BindParameter, ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from db.clock import Clock
from db.errors import is_away, is_held_up
from db.tables import LedgerReading
from db.timings import PRODUCTION

if TYPE_CHECKING:
    from loguru import Logger

SILENT_SECONDS: Final = 120
"""The longest time of one item: its transactions, each within the database's time-outs, and a call to Telegram."""
COOLDOWN_SECONDS: Final = 60
COOLDOWNS_MAX: Final = 1_000
"""Keys that one loop keeps in cooldown; the loop tries any further one again at once."""
AWAY_ATTEMPTS_MAX: Final = 48
"""After so many attempts, about a day and a half, a person looks at an outage."""
BACKOFF_SECONDS_FIRST: Final = 5
BACKOFF_SECONDS_MAX: Final = 3600
LEASE_SECONDS_MAX: Final = 180
"""The longest claim, for several calls. A clock that somebody has set back since made a claim that ends later."""
AHEAD_MAX: Final = timedelta(hours=2)
"""The longest wait for an attempt: a backoff of an hour, and up to a half more."""

_BEFORE_ALL: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Moment = InstrumentedAttribute[datetime | None]
_Column = _Moment | ColumnElement[datetime | None]
_Time = datetime | BindParameter[datetime]


def where_free(claimed_until: _Moment, now: datetime) -> ColumnElement[bool]:
    """Return the condition of rows that no process claims: without a claim, with one that is over, or ahead of `now`.

    A clock that was ahead has made a claim that ends later than LEASE_SECONDS_MAX from `now`.
    """
    is_ahead = claimed_until > now + timedelta(seconds=LEASE_SECONDS_MAX)
    return or_(claimed_until.is_(None), claimed_until <= now, is_ahead)


def where_claimed(due_at: _Moment, claimed_until: _Moment) -> ColumnElement[bool]:
    """Return the condition of rows with a claim, whether or not it is over; the index of `due_at` serves it.

    A claimed row has work, now or later: a step that ends the work ends the claim.
    """
    return and_(due_at > _BEFORE_ALL, claimed_until.is_not(None))


def where_due(due_at: _Moment, now: datetime) -> ColumnElement[bool]:
    """Return the condition of rows due by `now`, or put off by a clock that was ahead; an index serves it."""
    return where_due_at(due_at, now, now + AHEAD_MAX)


def where_due_at(due_at: _Column, now: _Time, latest: _Time) -> ColumnElement[bool]:
    """Return the condition of `where_due` with its two times, for a statement that has them as parameters.

    `latest` is AHEAD_MAX after `now`.
    """
    return and_(due_at > _BEFORE_ALL, or_(due_at <= now, due_at > latest))


def backoff(attempts: int, jitter: float) -> timedelta:
    """Return the backoff of a row that failed: 5 s, doubling, at most an hour, plus up to a half."""
    seconds = min(BACKOFF_SECONDS_FIRST * 2 ** (attempts - 1), BACKOFF_SECONDS_MAX)
    return timedelta(seconds=seconds * (1 + jitter / 2))


class Pulse:
    """The heartbeat of one loop; nobody expects a beat before the first one, or after `rest`.

    `seconds` is a clock that only goes forward, in seconds.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._silent_until: float | None = None

    def beat(self, silent_seconds: float) -> None:
        """Show that the loop is alive, and set how long it may be silent from now."""
        self._silent_until = self._seconds() + silent_seconds

    def rest(self) -> None:
        """Show that the loop has ended, so that nobody expects a beat."""
        self._silent_until = None

    @property
    def is_alive(self) -> bool:
        """True if the loop beats in the time that it set itself."""
        return self._silent_until is None or self._seconds() <= self._silent_until


class Cooldown:
    """The keys of rows that failed and that one loop leaves out for 60 s, so that one row holds up no others."""

    def __init__(self, clock: Clock, keys_max: int = COOLDOWNS_MAX) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._until: dict[str, datetime] = {}

    def current(self) -> Collection[str]:
        """Return the keys in cooldown; forget those whose time is over, or from before somebody set the clock back."""
        now = self._clock()
        latest = now + timedelta(seconds=COOLDOWN_SECONDS)
        self._until = {key: until for key, until in self._until.items() if now < until <= latest}
        return self._until.keys()

    def add(self, key: str, what: str, error: Exception, log: "Logger") -> None:
        """Put a key into cooldown for 60 s from now, and log why; `what` is its kind in words."""
        log.opt(exception=None if is_held_up(error) else error).error(
            "{} is left alone for {} s: {}", what, COOLDOWN_SECONDS, type(error).__name__
        )
        if len(self._until) < self._keys_max:
            self._until[key] = self._clock() + timedelta(seconds=COOLDOWN_SECONDS)


class Gate:
    """The gate before settling and sending: closed while the desk owes a whole pass over the ledger.

    An open gate stays open, because a pass begins before its desk, under the same lock. Its class stands
    beside the loops, because two of them ask it, and both are below the ledger's room (payments/ledger/progress.py),
    which closes it.
    """

    def __init__(self) -> None:
        self._is_open = False

    async def is_open(self, session: AsyncSession) -> bool:
        """Tell whether loops may work: the desk owes no ledger pass.

        The gate asks the database until the answer is yes, and then no more, because an open gate stays open.
        """
        if not self._is_open:
            wanted = select(LedgerReading.id).where(LedgerReading.pass_wanted_at.is_not(None))
            self._is_open = await session.scalar(wanted) is None
        return self._is_open


class DueLoop:
    """Repeats `work_once`, which does a bounded piece of what is due and returns how much it found.

    `work_once` calls `beat` before each item, and leaves the rest of its piece when `is_stopping` is set. `trouble`
    says why the loop cannot work; None: it can.
    """

    def __init__(
        self, name: str, work_once: Callable[[], Awaitable[int]], idle_seconds: float = PRODUCTION.loop_idle_seconds
    ) -> None:
        """Prepare; a loop that nobody wakes looks again after `idle_seconds`."""
        self._name = name
        self._work_once = work_once
        self._wakened = asyncio.Event()
        self._idle_seconds = self._rest_seconds = idle_seconds
        self.is_stopping = False
        self.pulse = Pulse()
        self.trouble: str | None = None

    def wake(self) -> None:
        """End the loop's sleep.

        A caller does so because something has become due in this process.
        """
        self._wakened.set()

    def rest_at_most(self, seconds: float) -> None:
        """Shorten the loop's sleep after this piece to `seconds`.

        A piece does so because something becomes due by then.
        """
        self._rest_seconds = min(self._rest_seconds, seconds)

    def stop(self) -> None:
        """End the loop's `run` after the piece that is under way."""
        self.is_stopping = True
        self._wakened.set()

    def beat(self) -> None:
        """Show that the loop is alive."""
        self.pulse.beat(SILENT_SECONDS)

    async def run(self) -> None:
        """Work until stopped. The log tells of an outage once, and once of its end; a bug ends the loop."""
        while not self.is_stopping:
            # Cleared before the look, so that a row that becomes due meanwhile starts the next look.
            self._wakened.clear()
            self._rest_seconds = self._idle_seconds
            if await self._work() or self.is_stopping:
                continue
            await self._sleep(self._rest_seconds)
        self.pulse.rest()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wakened.wait()

    async def _work(self) -> int:
        self.beat()
        try:
            found = await self._work_once()
        except Exception as error:
            if not is_away(error):
                raise
            if self.trouble is None:
                logger.error("the database is away, the {} waits: {}", self._name, type(error).__name__)
            self.trouble = f"the database is away: {type(error).__name__}"
            return 0
        if self.trouble is not None:
            logger.info("the database is back, the {} goes on", self._name)
            self.trouble = None
        return found

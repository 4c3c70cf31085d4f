"""The loop over Telegram's ledger: first the whole pass if one is wanted, then one reconciliation after another.

No error here ends the desk: the loop logs it and tries again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.timings import PRODUCTION, Timings
from payments.errors import LedgerError
from payments.ledger import progress
from payments.ledger.fetching import TelegramLedger
from payments.ledger.rebuild import WholePass
from payments.ledger.reconciliation import PassUnfinishedError, Reconciliation
from payments.ledger.scan import CrossedError
from payments.telegram_errors import TELEGRAM_ERRORS, in_words

PAGES_MAX: Final = 100
"""The pages of a long ledger that one reconciliation reads; the next one follows after a breath."""

_LATER: Final = (*TELEGRAM_ERRORS, LedgerError, CrossedError, PassUnfinishedError)


async def open_ledger(database: Database, ledger: TelegramLedger, clock: Clock, timings: Timings = PRODUCTION) -> None:
    """Mark a lost database for a whole pass over the ledger, and begin the pass that is wanted.

    The caller holds the desk's lock, and has recorded nothing yet, because the pass settles in silence only the events
    from before it began. It waits for a database that is away. Raises aiogram's errors.
    """
    while True:
        try:
            await mark_if_lost(database, ledger, clock)
            await _begin_if_wanted(database, clock)
        except Exception as error:
            if not is_away(error):
                raise
            logger.error("the database went away, trying on: {}", type(error).__name__)
            await asyncio.sleep(timings.database_pause_seconds)
        else:
            return


async def _begin_if_wanted(database: Database, clock: Clock) -> None:
    async with database.transaction() as session:
        progress.begin_pass(await progress.lock(session), clock())


async def mark_if_lost(database: Database, ledger: TelegramLedger, clock: Clock) -> None:
    """Mark the database for a whole pass over the ledger when it is empty and the ledger is not.

    The caller has written nothing yet, because one recorded payment would make a lost database look whole. Raises
    aiogram's errors.
    """
    async with database.reading() as session:
        if await progress.find(session) is not None or await progress.has_events(session):
            return
    is_lost = bool(await ledger.page(0))
    async with database.transaction() as session:
        stand = await progress.lock(session)
        # Another process may have marked it during the call.
        if is_lost and stand.pass_wanted_at is None and not await progress.has_events(session):
            logger.warning("the database is empty and Telegram's ledger is not: it is rebuilt from the ledger")
            await progress.mark_unfinished(session, clock())


class LedgerWatch:
    """The loop over the ledger; it calls `on_complete` after a whole pass, because others may settle from then on."""

    def __init__(
        self,
        database: Database,
        whole_pass: WholePass,
        reconciliation: Reconciliation,
        pause_minutes: int,
        on_complete: Callable[[], None],
        timings: Timings = PRODUCTION,
        pages_max: int = PAGES_MAX,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._whole_pass = whole_pass
        self._reconciliation = reconciliation
        self._pause_minutes = pause_minutes
        self._on_complete = on_complete
        self._timings = timings
        self._pages_max = pages_max
        self._sleep = sleep
        self.trouble: str | None = None
        """The obstacle to reading the ledger, in words; None: there is none."""

    async def run(self) -> None:
        """Complete the whole pass if one is wanted, then compare at once and after each pause, until cancelled."""
        while True:
            if await self._tried(self._pass_if_wanted):
                break
            await self._sleep(self._timings.ledger_retry_seconds)
        while self._pause_minutes:
            is_done = await self._tried(self._compare)
            await self._sleep(self._pause_minutes * 60 if is_done else self._timings.ledger_retry_seconds)
        await asyncio.Event().wait()

    async def _pass_if_wanted(self) -> None:
        async with self._database.reading() as session:
            stand = await progress.find(session)
        if stand is not None and stand.pass_wanted_at is not None:
            await self._whole_pass.run()
            self._on_complete()

    async def _compare(self) -> None:
        is_finished = False
        while not is_finished:
            report = await self._reconciliation.run(self._pages_max, rest=self._rest)
            is_finished = report.is_finished
            await self._sleep(self._timings.ledger_breath_seconds)

    async def _rest(self, page_seconds: float) -> None:
        """Rest after a page of a comparison in proportion to the time that it took, for at most a breath.

        A clock that somebody sets meanwhile makes a page take less than no time, or very long.
        """
        seconds = self._timings.ledger_rests_per_page * page_seconds
        await self._sleep(min(max(seconds, 0), self._timings.ledger_breath_seconds))

    async def _tried(self, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a comparison that fails is no reason to stop selling
            is_known = isinstance(error, _LATER) or is_away(error)
            bound = logger.opt(exception=None if is_known else error)
            said = in_words(error) if isinstance(error, TELEGRAM_ERRORS) else f"{type(error).__name__}: {error}"
            bound.error("Telegram's ledger could not be read, trying again: {}", said)
            self.trouble = f"Telegram's ledger could not be read: {type(error).__name__}"
            return False
        self.trouble = None
        return True

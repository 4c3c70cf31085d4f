"""Reads Telegram's ledger on from the place that the last reading reached, a page in a transaction at a time.

The place is in the database and moves with the page in one commit, so a kill loses nothing. If two processes read at
once, one of them gets each page.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from loguru import logger
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_refusal
from db.retry import retry_transaction
from db.tables import LedgerReading
from payments.errors import UnrecordableError
from payments.ledger import progress
from payments.ledger.fetching import PAGE_ROWS, TelegramLedger
from payments.ledger.findings import Finding, Unexplained, log_findings, owe_findings
from payments.ledger.kept import keep_ledger_rows
from payments.ledger.pages import LedgerPage, record_page
from payments.ledger.rows import LedgerRow, read_row
from payments.notices import Admins
from payments.sale.payload import PayloadSigner

OVERLAP_ROWS: Final = 50
"""A scan reads so many rows again at its beginning, because Telegram may insert a row late."""
CROSSED_MAX: Final = 10
"""A scan gives up after another process has taken its page so often."""


@dataclass(frozen=True, slots=True)
class PageStep:
    """One step of a scan. `is_end`: its ledger page was the last; `is_broken`: the ledger has lost rows read before."""

    page: LedgerPage = field(default_factory=LedgerPage)
    row_count: int = 0
    is_end: bool = True
    is_broken: bool = False


class CrossedError(Exception):
    """Another process reads the ledger at the same time, and was faster each time."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A fetched ledger page, with the progress before and after it; `counted` has the keys of rows read before."""

    reading: LedgerReading
    rows: Sequence[LedgerRow]
    counted: Sequence[str]
    first_place: int
    row_count: int
    latest: Sequence[str]
    is_end: bool


class Scan:
    """One run over the unread rows of the ledger, with a small overlap."""

    def __init__(
        self,
        database: Database,
        ledger: TelegramLedger,
        signer: PayloadSigner,
        clock: Clock,
        admins: Admins,
        *,
        is_pass: bool = False,
        is_dry: bool = False,
        from_start: bool = False,
    ) -> None:
        """Prepare; `is_dry` writes nothing, `from_start` reads the ledger from its first row.

        `is_pass`: a whole pass scans. It settles the events itself, and leaves younger rows to their update.
        """
        self._database = database
        self._ledger = ledger
        self._signer = signer
        self._clock = clock
        self._admins = admins
        self._is_pass = is_pass
        self._is_dry = is_dry
        self._from_start = from_start
        self._overlap_rows = OVERLAP_ROWS
        self._reading: LedgerReading | None = None

    async def step(self) -> PageStep:
        """Fetch and record the next ledger page. Raises aiogram's and SQLAlchemy's errors, and CrossedError."""
        for _ in range(CROSSED_MAX):
            reading = await self._read_progress()
            fetched = await self._fetch_next_page(reading)
            if fetched is None:
                return PageStep(row_count=reading.row_count, is_broken=True)
            page = await self._record_page(fetched)
            if page is not None:
                self._overlap_rows = 0
                return PageStep(page, fetched.row_count, is_end=fetched.is_end)
        raise CrossedError("another process reads the ledger at the same time")

    async def nanostars(self) -> int:
        """Return the sum in nanostars of all ledger rows that this scan and earlier ones have read."""
        return (await self._read_progress()).nanostars

    async def _read_progress(self) -> LedgerReading:
        """Read the ledger's progress; reset it first if the scan is to read from the first row."""
        if self._is_dry and self._reading is not None:
            return self._reading
        if self._from_start and not self._is_dry:
            async with self._database.transaction(Priority.RECONCILIATION) as session:
                progress.start_over(await progress.lock(session))
        async with self._database.reading() as session:
            reading = await progress.find(session)
        if reading is None or (self._from_start and self._is_dry):
            reading = LedgerReading(row_count=0, latest="[]", nanostars=0, payment_stars=0, event_stars=0)
        self._from_start = False
        self._reading = reading
        return reading

    async def _fetch_next_page(self, reading: LedgerReading) -> _Fetched | None:
        """Fetch the next ledger page after the progress; None: the ledger has lost the rows read before."""
        overlap = min(self._overlap_rows, reading.row_count)
        latest: list[str] = json.loads(reading.latest)
        raw = await self._ledger.page(reading.row_count - overlap)
        rows = [read_row(each, self._signer) for each in raw]
        is_short = len(rows) < PAGE_ROWS
        if len(rows) < overlap or (overlap and not {row.key for row in rows[:overlap]} & set(latest)):
            return None
        if self._is_pass:
            rows = _rows_before_pass(rows, reading)
        keys = [row.key for row in rows]
        return _Fetched(
            reading,
            rows,
            counted=latest if overlap else [],
            first_place=reading.row_count - overlap,
            row_count=reading.row_count - overlap + len(rows),
            latest=(keys if overlap else latest + keys)[-OVERLAP_ROWS:],
            is_end=is_short or not rows,
        )

    async def _record_page(self, fetched: _Fetched) -> LedgerPage | None:
        """Record a fetched ledger page, row by row after a refusal; None: another process has moved the progress."""
        if self._is_dry:
            async with self._database.reading() as session:
                page = await record_page(session, fetched.rows, self._clock(), counted=fetched.counted, is_dry=True)
            _advance_progress(fetched.reading, fetched, page)
            return page
        try:
            return await self._record_page_once(fetched, one_by_one=False)
        except (UnrecordableError, DBAPIError) as error:
            if isinstance(error, DBAPIError) and not is_refusal(error):
                raise
            return await self._record_page_once(fetched, one_by_one=True)

    @retry_transaction
    async def _record_page_once(self, fetched: _Fetched, *, one_by_one: bool) -> LedgerPage | None:
        """Record a fetched ledger page in one transaction, whole or row by row; None: as in `_record_page`."""
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            reading = await progress.lock(session)
            before = fetched.reading
            if (reading.row_count, reading.pass_begun_at) != (before.row_count, before.pass_begun_at):
                return None
            if (reading.pass_wanted_at is not None) is not self._is_pass:
                return None
            if one_by_one:
                page = await self._record_rows_one_by_one(session, fetched)
            else:
                page = await record_page(
                    session, fetched.rows, self._clock(), counted=fetched.counted, falls_due=not self._is_pass
                )
            await keep_ledger_rows(session, fetched.rows, page.charge_ids, fetched.first_place, self._clock())
            _advance_progress(reading, fetched, page)
            told = await self._owe_page_findings(session, page.counts.findings)
        log_findings(told)
        for fact in page.recovered:
            bound = logger.bind(
                charge_id=fact.charge_id, event_type=fact.event_type, telegram_id=fact.person.telegram_id
            )
            bound.info("recovered from the ledger: {} of {} {}", fact.kind, fact.amount, fact.currency)
        return page

    async def _owe_page_findings(self, session: AsyncSession, found: Sequence[Unexplained]) -> Sequence[Unexplained]:
        """Owe the admins an alert of a ledger page's findings, unless a whole pass scans; return those to log."""
        if self._is_pass or not found:
            return found
        return await owe_findings(session, found, self._admins, self._clock())

    async def _record_rows_one_by_one(self, session: AsyncSession, fetched: _Fetched) -> LedgerPage:
        """Record each ledger row of a page in its own savepoint, so that one refused row costs none of the others."""
        whole = LedgerPage()
        counted = Counter(fetched.counted)
        for row in fetched.rows:
            again = [row.key] if counted[row.key] else []
            counted.subtract(again)
            try:
                async with session.begin_nested():
                    page = await record_page(session, [row], self._clock(), counted=again, falls_due=not self._is_pass)
            except (UnrecordableError, DBAPIError) as error:
                if isinstance(error, DBAPIError) and not is_refusal(error):
                    raise
                words = f"{type(error).__name__}: {getattr(error, 'orig', error)}"
                page = LedgerPage(nanostars=0 if again else row.nanostars)
                page.counts.seen += 1
                page.counts.add_findings(Unexplained(Finding.UNRECORDABLE, row.event_id or row.key, detail=words))
            whole.add(page)
        return whole


def _rows_before_pass(rows: Sequence[LedgerRow], reading: LedgerReading) -> list[LedgerRow]:
    """Drop the last ledger rows of a page if they are from after the pass began: their buyers wait for a notice.

    Their update or the next reconciliation records them. Only the end of the page counts, so that the pass still takes
    the rows behind one with a wrong date.
    """
    until = reading.pass_begun_at
    if until is None:
        raise ValueError("the pass over the ledger has not begun")
    kept = list(rows)
    while kept and kept[-1].happened_at is not None and kept[-1].happened_at >= until:
        kept.pop()
    return kept


def _advance_progress(reading: LedgerReading, fetched: _Fetched, page: LedgerPage) -> None:
    """Move the ledger's progress past a page, and add the page's sums to it."""
    reading.row_count = fetched.row_count
    reading.latest = json.dumps(list(fetched.latest))
    reading.nanostars += page.nanostars
    reading.payment_stars += page.payment_stars
    reading.event_stars += page.event_stars

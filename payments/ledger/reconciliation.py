"""Reconciles Telegram's ledger with our audit rows, both ways, while the desk runs.

The events that it records fall due, and the worker settles them. A run reads on from the place where the last one
ended, so that its cost grows with the new rows alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database, Priority
from db.retry import retry_transaction
from payments.ledger import progress
from payments.ledger.drift import find_missing_from_ledger, read_drift
from payments.ledger.fetching import PAGE_ROWS, TelegramLedger
from payments.ledger.findings import FINDINGS_MAX, Counts, Finding, Unexplained, log_findings, owe_findings
from payments.ledger.kept import find_pending_withdrawals, update_withdrawal_states
from payments.ledger.nanostars import stars
from payments.ledger.rows import read_row
from payments.ledger.scan import OVERLAP_ROWS, PageStep, Scan
from payments.notices import Admins
from payments.sale.payload import PayloadSigner

BALANCE_ASKED_MAX: Final = 3
"""One run asks for the balance so often while the ledger grows in between."""
REFRESHED_PAGES_MAX: Final = 3
"""One run reads so many pages with a pending withdrawal again."""
_MARGIN_ROWS: Final = 25
"""A ledger row may have moved so far from the place where a scan read it: a late row moves those behind it."""


@dataclass(slots=True)
class Comparison:
    """The result of a reconciliation. `is_complete`: it reached the ledger's end, at `row_count` rows."""

    counts: Counts = field(default_factory=Counts)
    row_count: int = 0
    is_complete: bool = False
    is_broken: bool = False
    """The ledger lacks the rows that an earlier reading has seen."""

    @property
    def is_finished(self) -> bool:
        """Tell whether the reconciliation has read all there is: to the ledger's end, or to a broken ledger."""
        return self.is_complete or self.is_broken


@dataclass(frozen=True, slots=True)
class _Balance:
    """The bot's Star balance by Telegram (None: the Bot API server is too old to say), and the ledger rows' sum."""

    there_nanostars: int | None
    here_nanostars: int

    @property
    def difference_nanostars(self) -> int:
        """The balance less the sum of the ledger's rows; 0 while the balance is unknown."""
        return 0 if self.there_nanostars is None else self.there_nanostars - self.here_nanostars

    @property
    def found(self) -> list[Unexplained]:
        """The finding that the balance differs from the ledger rows' sum; empty: they are equal."""
        if not self.difference_nanostars or self.there_nanostars is None:
            return []
        here, there = stars(self.here_nanostars), stars(self.there_nanostars)
        return [Unexplained(Finding.BALANCE_OFF, str(self.difference_nanostars), here=here, there=there)]


async def _go_on_at_once(_: float) -> None:
    """Rest for no time after a page."""


class PassUnfinishedError(Exception):
    """A whole pass over the ledger comes first, and it alone may read the ledger and settle now."""


class Reconciliation:
    """Compares the ledger with our audit rows, run by run, and tells the admins of differences."""

    def __init__(
        self,
        database: Database,
        ledger: TelegramLedger,
        signer: PayloadSigner,
        clock: Clock,
        admins: Admins,
        on_recovered: Callable[[], None],
    ) -> None:
        """Prepare; a reconciliation calls `on_recovered` when an event or a notice has fallen due."""
        self._database = database
        self._ledger = ledger
        self._signer = signer
        self._clock = clock
        self._admins = admins
        self._on_recovered = on_recovered
        self._refreshed_place = -1
        self._asked_at = clock()

    async def run(
        self,
        pages_max: int | None = None,
        *,
        from_start: bool = False,
        is_dry: bool = False,
        on_step: Callable[[PageStep], None] = lambda _: None,
        rest: Callable[[float], Awaitable[None]] = _go_on_at_once,
    ) -> Comparison:
        """Run a reconciliation: compare the new ledger pages with our rows, then the totals; return the comparison.

        1. Read the next page and record its missing events, at most `pages_max` pages (payments/ledger/scan.py).
        2. Stop with a finding when the ledger is shorter than before.
        3. At the ledger's end, ask for the balance, and read again while it differs from the rows.
        4. Read pages with pending withdrawals once more, because Telegram changes their state in place.
        5. List our events that the ledger lacks.
        6. Owe the admins an alert of every difference, and log the drift.

        Between two pages it awaits `rest` with the seconds that the page took, by the desk's clock. `is_dry` writes
        nothing and leaves out 4 to 6. Raises PassUnfinishedError, and the errors of Scan.step.
        """
        scan = Scan(
            *(self._database, self._ledger, self._signer, self._clock, self._admins),
            is_dry=is_dry,
            from_start=from_start,
        )
        comparison = Comparison()
        pages = 0
        while pages_max is None or pages < pages_max:
            began_at = self._clock()
            step = await self._read_page(scan, comparison)
            page_seconds = (self._clock() - began_at).total_seconds()
            on_step(step)
            pages += 1
            if step.is_broken:
                found = Unexplained(Finding.LEDGER_SHORTER, str(step.row_count), here=step.row_count)
                comparison.counts.add_findings(found)
                await self._owe_findings([] if is_dry else [found])
                break
            if step.is_end:
                await self._compare_totals(scan, comparison, is_dry=is_dry)
                break
            await rest(page_seconds)
        return comparison

    async def _read_page(self, scan: Scan, comparison: Comparison) -> PageStep:
        """Read and record the next ledger page, and add it to the comparison. Raises PassUnfinishedError."""
        async with self._database.reading() as session:
            reading = await progress.find(session)
        if reading is not None and reading.pass_wanted_at is not None:
            raise PassUnfinishedError
        asked_at = self._clock()
        step = await scan.step()
        if step.is_end:
            self._asked_at = asked_at
        comparison.counts.add(step.page.counts)
        comparison.row_count = step.row_count
        comparison.is_broken = step.is_broken
        if step.page.recovered or step.page.counts.findings:
            self._on_recovered()
        return step

    async def _compare_totals(self, scan: Scan, comparison: Comparison, *, is_dry: bool) -> None:
        """Compare the whole ledger with the balance and with our events; store the result, and alert the admins."""
        balance = await self._ask_balance_until_equal(scan, comparison)
        # Ledger rows that come in from here on are uncompared, so that this run can close only a month that was over
        # before its last page.
        asked_at = self._asked_at
        comparison.is_complete = True
        comparison.counts.add_findings(*balance.found)
        if is_dry:
            return
        await self._refresh_withdrawals(comparison.row_count)
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            missing = await find_missing_from_ledger(session, self._clock(), FINDINGS_MAX)
            reading = await progress.lock(session)
            before_nanostars = reading.balance_off_nanostars
            reading.compared_at = asked_at
            reading.balance_nanostars = balance.there_nanostars
            reading.balance_off_nanostars = balance.difference_nanostars
        comparison.counts.add_findings(*missing)
        # Balance and rows are two answers of a busy server: report a difference when two runs find the same one.
        again = balance.found if balance.difference_nanostars == before_nanostars else []
        await self._owe_findings([*again, *missing])
        async with self._database.reading() as session:
            drift = await read_drift(session)
        if drift is not None and drift.stars:
            bound = logger.bind(rows=drift.row_count, event_stars=drift.event_stars, ledger_stars=drift.ledger_stars)
            bound.error("drift: our rows have {} Stars more than the ledger", drift.stars)

    async def _ask_balance_until_equal(self, scan: Scan, comparison: Comparison) -> _Balance:
        """Ask for the balance; while it differs from the ledger rows' sum, read new rows and ask again."""
        balance = await self._ask_balance_once(scan)
        for _ in range(BALANCE_ASKED_MAX - 1):
            if not balance.difference_nanostars or not (await self._read_page(scan, comparison)).page.counts.seen:
                break
            balance = await self._ask_balance_once(scan)
        return balance

    async def _ask_balance_once(self, scan: Scan) -> _Balance:
        """Ask Telegram for the balance, and read the ledger rows' sum beside it."""
        return _Balance(await self._ledger.balance_nanostars(), await scan.nanostars())

    async def _refresh_withdrawals(self, row_count: int) -> None:
        """Read ledger pages with a pending withdrawal again.

        The rows on record grow old, because Telegram changes a withdrawal's state in place. Each run reads at most
        REFRESHED_PAGES_MAX pages, in turn, so that every withdrawal gets its turn, however long others stay pending.
        """
        async with self._database.reading() as session:
            places = await find_pending_withdrawals(session, row_count - OVERLAP_ROWS)
        in_turn = [each for each in places if each > self._refreshed_place] + [
            each for each in places if each <= self._refreshed_place
        ]
        offset = None
        pages = 0
        for place in in_turn:
            if offset is not None and offset <= place < offset + PAGE_ROWS - _MARGIN_ROWS:
                self._refreshed_place = place
                continue
            if pages == REFRESHED_PAGES_MAX:
                break
            offset = max(0, place - _MARGIN_ROWS)
            rows = [read_row(each, self._signer) for each in await self._ledger.page(offset)]
            async with self._database.transaction(Priority.RECONCILIATION) as session:
                await update_withdrawal_states(session, rows)
            self._refreshed_place = place
            pages += 1

    @retry_transaction
    async def _owe_findings(self, findings: Sequence[Unexplained]) -> None:
        """Owe the admins an alert of findings about the ledger as a whole; Scan reports those of single rows."""
        if findings:
            async with self._database.transaction(Priority.RECONCILIATION) as session:
                new = await owe_findings(session, findings, self._admins, self._clock())
            log_findings(new)
            self._on_recovered()

"""Compares Telegram's ledger with our rows, both ways, and settles nothing itself: what it records falls due.

The cost grows with what is new: a run reads on from where the last one ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database, Priority
from db.retry import tried_again
from payments.ledger import progress
from payments.ledger.drift import not_in_ledger, read_drift
from payments.ledger.fetching import PAGE_ROWS, TelegramLedger
from payments.ledger.findings import FINDINGS_MAX, Counts, Finding, Unexplained, alert, log
from payments.ledger.kept import learn_states, pending_places
from payments.ledger.nanostars import stars
from payments.ledger.rows import read_row
from payments.ledger.scan import OVERLAP_ROWS, Scan, Step
from payments.notices import Admins
from payments.sale.payload import PayloadSigner

BALANCE_ASKED_MAX: Final = 3
"""How often the balance is asked for in one run, while new rows come in between."""
LOOKED_AT_AGAIN_MAX: Final = 3
"""How many pages with a pending withdrawal are read once more in one run."""
_MARGIN_ROWS: Final = 25
"""A row may stand so far from where it was seen: one that came in late moves those behind it."""


@dataclass(slots=True)
class Report:
    """What a run has found. `is_complete`: it came to the end of the ledger, which then had `row_count` rows."""

    counts: Counts = field(default_factory=Counts)
    row_count: int = 0
    is_complete: bool = False
    is_broken: bool = False
    """The ledger is not the one that was read before."""

    @property
    def is_finished(self) -> bool:
        """Tell whether another run at once would find nothing more."""
        return self.is_complete or self.is_broken


@dataclass(frozen=True, slots=True)
class _Balance:
    """What Telegram says that the bot has (None: it cannot tell), and what the rows add up to."""

    there_nanostars: int | None
    here_nanostars: int

    @property
    def off_nanostars(self) -> int:
        return 0 if self.there_nanostars is None else self.there_nanostars - self.here_nanostars

    @property
    def found(self) -> list[Unexplained]:
        if not self.off_nanostars or self.there_nanostars is None:
            return []
        here, there = stars(self.here_nanostars), stars(self.there_nanostars)
        return [Unexplained(Finding.BALANCE_OFF, str(self.off_nanostars), here=here, there=there)]


class PassUnfinishedError(Exception):
    """A whole pass over the ledger is wanted first: it alone may read and settle now."""


class Reconciliation:
    """The comparison, a run at a time."""

    def __init__(
        self,
        database: Database,
        ledger: TelegramLedger,
        signer: PayloadSigner,
        clock: Clock,
        admins: Admins,
        on_recovered: Callable[[], None],
    ) -> None:
        """Prepare; `on_recovered` is called when something has fallen due, or there is something to tell."""
        self._database = database
        self._ledger = ledger
        self._signer = signer
        self._clock = clock
        self._admins = admins
        self._on_recovered = on_recovered
        self._looked_at = -1
        self._asked_at = clock()

    async def run(
        self,
        pages_max: int | None = None,
        *,
        from_start: bool = False,
        is_dry: bool = False,
        on_step: Callable[[Step], None] = lambda _: None,
    ) -> Report:
        """Read what is new, at most `pages_max` pages of it; at the end look at what the ledger lacks, and the balance.

        `is_dry` writes nothing, and does not look for what the ledger lacks. Raises PassUnfinishedError, and what
        Scan.step raises.
        """
        scan = Scan(
            *(self._database, self._ledger, self._signer, self._clock, self._admins),
            is_dry=is_dry,
            from_start=from_start,
        )
        report = Report()
        pages = 0
        while pages_max is None or pages < pages_max:
            step = await self._step(scan, report)
            on_step(step)
            pages += 1
            if step.is_broken:
                found = Unexplained(Finding.LEDGER_SHORTER, str(step.row_count), here=step.row_count)
                report.counts.find(found)
                await self._tell([] if is_dry else [found])
                break
            if step.is_end:
                await self._end(scan, report, is_dry=is_dry)
                break
        return report

    async def _step(self, scan: Scan, report: Report) -> Step:
        async with self._database.reading() as session:
            stand = await progress.find(session)
        if stand is not None and stand.pass_wanted_at is not None:
            raise PassUnfinishedError
        asked_at = self._clock()
        step = await scan.step()
        if step.is_end:
            self._asked_at = asked_at
        report.counts.add(step.page.counts)
        report.row_count = step.row_count
        report.is_broken = step.is_broken
        if step.page.recovered or step.page.counts.findings:
            self._on_recovered()
        return step

    async def _end(self, scan: Scan, report: Report, *, is_dry: bool) -> None:
        balance = await self._balance(scan, report)
        # What comes in while all the rest is looked at was not compared: a month is over only before that.
        asked_at = self._asked_at
        report.is_complete = True
        report.counts.find(*balance.found)
        if is_dry:
            return
        await self._look_again(report.row_count)
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            missing = await not_in_ledger(session, self._clock(), FINDINGS_MAX)
            stand = await progress.lock(session)
            before_nanostars = stand.balance_off_nanostars
            stand.compared_at = asked_at
            stand.balance_nanostars = balance.there_nanostars
            stand.balance_off_nanostars = balance.off_nanostars
        report.counts.find(*missing)
        # Balance and rows are two answers of a busy server: a difference is told when the next run finds the same.
        again = balance.found if balance.off_nanostars == before_nanostars else []
        await self._tell([*again, *missing])
        async with self._database.reading() as session:
            drift = await read_drift(session)
        if drift is not None and drift.stars:
            bound = logger.bind(rows=drift.row_count, event_stars=drift.event_stars, ledger_stars=drift.ledger_stars)
            bound.error("drift: our rows have {} Stars more than the ledger", drift.stars)

    async def _balance(self, scan: Scan, report: Report) -> _Balance:
        """Ask for the balance; while it is off, read what may have come in between, and ask again."""
        balance = await self._ask_balance(scan)
        for _ in range(BALANCE_ASKED_MAX - 1):
            if not balance.off_nanostars or not (await self._step(scan, report)).page.counts.seen:
                break
            balance = await self._ask_balance(scan)
        return balance

    async def _ask_balance(self, scan: Scan) -> _Balance:
        return _Balance(await self._ledger.balance_nanostars(), await scan.nanostars())

    async def _look_again(self, row_count: int) -> None:
        """Read once more where a withdrawal was pending: Telegram changes its state in place.

        At most LOOKED_AT_AGAIN_MAX pages, in turn: those that are pending for ever keep none of the others waiting.
        """
        async with self._database.reading() as session:
            places = await pending_places(session, row_count - OVERLAP_ROWS)
        in_turn = [each for each in places if each > self._looked_at] + [
            each for each in places if each <= self._looked_at
        ]
        offset = None
        pages = 0
        for place in in_turn:
            if offset is not None and offset <= place < offset + PAGE_ROWS - _MARGIN_ROWS:
                self._looked_at = place
                continue
            if pages == LOOKED_AT_AGAIN_MAX:
                break
            offset = max(0, place - _MARGIN_ROWS)
            rows = [read_row(each, self._signer) for each in await self._ledger.page(offset)]
            async with self._database.transaction(Priority.RECONCILIATION) as session:
                await learn_states(session, rows)
            self._looked_at = place
            pages += 1

    @tried_again
    async def _tell(self, findings: Sequence[Unexplained]) -> None:
        """Tell what was found beside the rows; what is found in a row is told with its page."""
        if findings:
            async with self._database.transaction(Priority.RECONCILIATION) as session:
                new = await alert(session, findings, self._admins, self._clock())
            log(new)
            self._on_recovered()

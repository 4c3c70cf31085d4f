"""Compares Telegram's ledger with our rows, both ways, and settles nothing itself: what it records falls due.

The cost grows with what is new: a run reads on from where the last one ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database, Priority
from payments.ledger import reading
from payments.ledger.drift import not_in_ledger, read_drift
from payments.ledger.findings import FINDINGS_MAX, Counts, Finding, Unexplained, alert, log
from payments.ledger.rows import NANOSTARS
from payments.ledger.scan import Scan, Step
from payments.ledger.telegram import TelegramLedger
from payments.payload import PayloadSigner

BALANCE_ASKED_MAX: Final = 3
"""How often the balance is asked for in one run, while new rows come in between."""


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
class _Off:
    nanostars: int
    found: Unexplained


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
        alert_chat_ids: Sequence[int],
        on_recovered: Callable[[], None],
    ) -> None:
        """Prepare; `on_recovered` is called when something has fallen due, or there is something to tell."""
        self._database = database
        self._ledger = ledger
        self._signer = signer
        self._clock = clock
        self._alert_chat_ids = tuple(alert_chat_ids)
        self._on_recovered = on_recovered

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
            *(self._database, self._ledger, self._signer, self._clock, self._alert_chat_ids),
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
            stand = await reading.find(session)
        if stand is not None and stand.pass_wanted_at is not None:
            raise PassUnfinishedError
        step = await scan.step()
        report.counts.add(step.page.counts)
        report.row_count = step.row_count
        report.is_broken = step.is_broken
        if step.page.recovered or step.page.counts.findings:
            self._on_recovered()
        return step

    async def _end(self, scan: Scan, report: Report, *, is_dry: bool) -> None:
        off = await self._balance_off(scan, report)
        report.is_complete = True
        if off is not None:
            report.counts.find(off.found)
        if is_dry:
            return
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            missing = await not_in_ledger(session, self._clock(), FINDINGS_MAX)
            stand = await reading.lock(session)
            before_nanostars = stand.balance_off_nanostars
            stand.compared_at = self._clock()
            stand.balance_off_nanostars = off.nanostars if off else 0
        report.counts.find(*missing)
        # Balance and rows are two answers of a busy server: a difference is told when the next run finds the same.
        again = [off.found] if off is not None and off.nanostars == before_nanostars else []
        await self._tell([*again, *missing])
        async with self._database.reading() as session:
            drift = await read_drift(session)
        if drift is not None and drift.stars:
            bound = logger.bind(rows=drift.row_count, event_stars=drift.event_stars, ledger_stars=drift.ledger_stars)
            bound.error("drift: our rows have {} Stars more than the ledger", drift.stars)

    async def _balance_off(self, scan: Scan, report: Report) -> _Off | None:
        """Say by how much the balance is not what the rows add up to; a row that comes in between is read, too."""
        off = None
        for _ in range(BALANCE_ASKED_MAX):
            there, here = await self._ledger.balance_nanostars(), await scan.nanostars()
            if there == here:
                return None
            found = Unexplained(Finding.BALANCE_OFF, str(there - here), here=stars(here), there=stars(there))
            off = _Off(there - here, found)
            step = await self._step(scan, report)
            if not step.page.counts.seen:
                break
        return off

    async def _tell(self, findings: Sequence[Unexplained]) -> None:
        """Tell what was found beside the rows; what is found in a row is told with its page."""
        if findings:
            async with self._database.transaction(Priority.RECONCILIATION) as session:
                new = await alert(session, findings, self._alert_chat_ids, self._clock())
            log(new)
            self._on_recovered()


def stars(nanostars: int) -> str:
    """Write nanostars as Stars, with as many decimals as it takes."""
    sign = "-" if nanostars < 0 else ""
    whole, rest = divmod(abs(nanostars), NANOSTARS)
    return f"{sign}{whole}" + (f".{rest:09d}".rstrip("0") if rest else "")

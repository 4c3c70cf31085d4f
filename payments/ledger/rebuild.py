"""Rebuilds the database by one whole pass over Telegram's ledger, or brings a restored copy up to date.

A pass is silent. A mark stands in the database before its first write (payments/ledger/progress.py), and until the pass
is complete nobody else settles. A kill at any moment loses the open transaction alone: the next start goes on there.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from loguru import logger
from sqlalchemy import ColumnElement, and_, func, literal, or_, select, tuple_

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_away
from db.retry import retry_transaction
from db.states import ORIGIN, EventOutcome, EventStatus
from db.tables import LedgerReading, StripeEvent, User
from db.users import lock_users
from db.utc_datetime import UtcDateTime
from entitlements.standings import defer_standings
from payments.audit import events, transitions
from payments.effects import SILENT
from payments.errors import LedgerError
from payments.ledger import progress
from payments.ledger.fetching import TelegramLedger
from payments.ledger.findings import Counts
from payments.ledger.plain import settle_plain_payments
from payments.ledger.scan import PageStep, Scan
from payments.methods import METHODS
from payments.notices import Admins
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.settlement.judgement import ChargeProblem
from payments.settlement.settlement import Settlement
from payments.subscriptions.chain import Terms

BATCH_EVENTS: Final = 100


@dataclass(slots=True)
class PassReport:
    """The counts of a whole pass, and the number of events by outcome after it (None: still open)."""

    counts: Counts = field(default_factory=Counts)
    row_count: int = 0
    settled: int = 0
    outcomes: Counter[str | None] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _SettlementRules:
    """The settlement of a whole pass, and the signer that reads its payloads."""

    settlement: Settlement
    signer: PayloadSigner


class WholePass:
    """The whole pass over the ledger, from the place that it has reached to the ledger's end. It needs the mark."""

    def __init__(
        self,
        database: Database,
        ledger: TelegramLedger,
        catalog: Catalog,
        signer: PayloadSigner,
        clock: Clock,
        terms: Terms,
        batch_events: int = BATCH_EVENTS,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._catalog = catalog
        self._signer = signer
        self._clock = clock
        self._terms = terms
        self._batch_events = batch_events

    async def run(
        self,
        *,
        on_step: Callable[[PageStep], None] = lambda _: None,
        on_settled: Callable[[int], None] = lambda _: None,
    ) -> PassReport:
        """Run a rebuild: read and settle the whole ledger, then remove the mark; return the report.

        1. Begin the pass, or go on with one that has begun; the pass leaves out later payments.
        2. Record every ledger row, page by page, without settling any (payments/ledger/scan.py).
        3. Settle the open events of the pass and from before it, by date and charge id, now that all refunds are known.
        4. Settle the events that failed before the pass and, if the mark says to trust unsigned payloads, those parked
           for their payload.
        5. Remove the mark: the worker goes on with the events that came in meanwhile.

        `on_settled` gets each batch's number of events. Raises LedgerError when Telegram's ledger lacks the rows that
        an earlier reading has seen, and the errors of Scan.step; another run goes on from there.
        """
        reading = await self._begin_pass()
        signer = self._signer.trusting() if reading.pass_trusts_unsigned else self._signer
        report = PassReport()
        # Without admins the scan sends no findings, because a whole pass is silent.
        scan = Scan(self._database, self._ledger, signer, self._clock, Admins(), is_pass=True)
        await self._read_ledger(scan, report, on_step)
        settlement = Settlement(self._catalog, signer, self._clock, SILENT, self._terms)
        await self._settle_pass(_SettlementRules(settlement, signer), reading, report, on_settled)
        await self._complete_pass(report)
        return report

    @retry_transaction
    async def _begin_pass(self) -> LedgerReading:
        """Begin the whole pass, or log the row from which it goes on. Raises ValueError if the mark is missing."""
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            reading = await progress.lock(session)
            if reading.pass_wanted_at is None:
                raise ValueError("no pass over the ledger is wanted")
            if progress.begin_pass(reading, self._clock()) or not reading.row_count:
                logger.info("a pass over Telegram's whole ledger begins: until it is complete, nothing else is settled")
            else:
                logger.info("the pass over Telegram's ledger goes on from row {}", reading.row_count)
        return reading

    async def _read_ledger(self, scan: Scan, report: PassReport, on_step: Callable[[PageStep], None]) -> None:
        """Read the ledger to its end, and record its payments and refunds unsettled. Raises LedgerError."""
        while True:
            step = await scan.step()
            if step.is_broken:
                raise LedgerError(
                    f"Telegram's ledger no longer has the {step.row_count} rows that were read: is it another bot's?"
                )
            report.counts.add(step.page.counts)
            report.row_count = step.row_count
            on_step(step)
            if step.is_end:
                return

    async def _settle_pass(
        self, rules: _SettlementRules, reading: LedgerReading, report: PassReport, on_settled: Callable[[int], None]
    ) -> None:
        """Settle the events of the whole pass and those open before it began; leave later ones to the worker."""
        failed = StripeEvent.status == EventStatus.FAILED
        unproved = and_(
            StripeEvent.outcome == EventOutcome.PARKED,
            StripeEvent.error.in_([ChargeProblem.DAMAGED_PAYLOAD, ChargeProblem.NEVER_OFFERED]),
        )
        of_the_pass = or_(StripeEvent.due_at.is_(None), StripeEvent.created_at < reading.pass_begun_at)
        sweeps = [
            and_(StripeEvent.status == EventStatus.PENDING, of_the_pass),
            and_(failed, StripeEvent.due_at.is_not(None), StripeEvent.created_at < reading.pass_begun_at),
        ]
        if reading.pass_trusts_unsigned:
            sweeps.append(and_(failed, unproved))
        for which in sweeps:
            after: tuple[datetime, str] | None = None
            while batch := await self._next_batch(which, after):
                await self._settle_batch(rules, [event_id for _, event_id in batch])
                report.settled += len(batch)
                on_settled(len(batch))
                after = batch[-1]

    async def _next_batch(
        self, which: ColumnElement[bool], after: tuple[datetime, str] | None
    ) -> Sequence[tuple[datetime, str]]:
        """List the next events for the whole pass to settle, by their provider's dates.

        A refund that its provider has yet to make waits for the worker. A returned refund waits too, because its
        settlement tells the admins, and no earlier desk has told them.
        """
        place = (StripeEvent.webhook_timestamp, StripeEvent.event_id)
        is_told = StripeEvent.event_type.not_in([method.refund_failed_type for method in METHODS.values()])
        query = select(*place).where(which, StripeEvent.origin == ORIGIN, StripeEvent.webhook_timestamp.is_not(None))
        query = query.where(is_told)
        if after is not None:
            happened_at, event_id = after
            query = query.where(tuple_(*place) > tuple_(literal(happened_at, UtcDateTime()), event_id))
        async with self._database.reading() as session:
            rows = await session.execute(query.order_by(*place).limit(self._batch_events))
            return [(happened_at, event_id) for happened_at, event_id in rows if happened_at is not None]

    async def _settle_batch(self, rules: _SettlementRules, event_ids: Sequence[str]) -> None:
        """Settle a batch of the whole pass in one transaction; if that fails, settle each event in its own."""
        try:
            await self._settle_transaction(rules, event_ids)
        except Exception as error:
            if is_away(error):
                raise
            for event_id in event_ids:
                await self._settle_alone(rules, event_id)

    async def _settle_alone(self, rules: _SettlementRules, event_id: str) -> None:
        """Settle one event of the whole pass in its own transaction; if that fails, leave the event to the worker."""
        try:
            await self._settle_transaction(rules, [event_id])
        except Exception as error:
            if is_away(error):
                raise
            bound = logger.bind(event_id=event_id).opt(exception=error)
            bound.error("the pass over the ledger cannot settle an event, and leaves it to the worker")
            async with self._database.transaction(Priority.RECONCILIATION) as session:
                event = await events.lock(session, event_id)
                if event is not None:
                    transitions.fail(event, f"{type(error).__name__}: {error}", self._clock(), jitter=0)

    @retry_transaction
    async def _settle_transaction(self, rules: _SettlementRules, event_ids: Sequence[str]) -> None:
        """Settle events of the whole pass in one transaction: plain payments in bulk, then the others one by one."""
        which = StripeEvent.event_id.in_(event_ids)
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            found = await lock_users(session, User.id.in_(select(StripeEvent.customer_id).where(which)))
            users = {user.id: user for user in found}
            query = select(StripeEvent).where(which).order_by(StripeEvent.webhook_timestamp, StripeEvent.event_id)
            batch = (await session.scalars(query.with_for_update(key_share=True))).all()
            async with defer_standings(session):
                for event in await settle_plain_payments(
                    session, batch, users, self._catalog, rules.signer, self._clock
                ):
                    await rules.settlement.settle_open(session, event)

    @retry_transaction
    async def _complete_pass(self, report: PassReport) -> None:
        """Complete the whole pass: remove its mark, and count the events by outcome for the report."""
        async with self._database.transaction(Priority.RECONCILIATION) as session:
            reading = await progress.lock(session)
            reading.pass_wanted_at = reading.pass_begun_at = None
            reading.pass_trusts_unsigned = False
            outcomes = select(StripeEvent.outcome, func.count()).where(StripeEvent.origin == ORIGIN)
            for outcome, count in await session.execute(outcomes.group_by(StripeEvent.outcome)):
                report.outcomes[outcome] = count
        bound = logger.bind(rows=report.row_count, settled=report.settled)
        summary = ", ".join(f"{count} {outcome or 'open'}" for outcome, count in report.outcomes.items())
        bound.info("the pass over Telegram's ledger is complete: {}", summary or "it is empty")

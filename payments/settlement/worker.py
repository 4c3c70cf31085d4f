"""Processes due audit rows: settles charges, sends and settles refunds, and retries failures until it parks them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from loguru import logger

from db.clock import Clock
from db.engine import Database
from db.errors import is_away, is_held_up
from db.limits import ERROR_LENGTH_MAX
from db.retry import retry_transaction
from db.states import ORIGIN, TELEGRAM_STARS, EventStatus
from db.tables import StripeEvent
from db.timings import PRODUCTION
from payments.audit import events, transitions
from payments.audit.facts import REFUND_PREFIX
from payments.channel import MadeRefund
from payments.errors import ChannelAwayError, ChannelPauseError, PaymentError, RefusedByChannelError
from payments.loop import AWAY_ATTEMPTS_MAX, Cooldown, DueLoop, Gate
from payments.metrics import count_failed_attempt, count_processed
from payments.pause import Pause
from payments.refunds.sending import RefundSender
from payments.settlement.batch import BatchSettlement, SettledRow, divide
from payments.settlement.log_lines import bound, log_settled
from payments.settlement.refused_refunds import resolve_refusal
from payments.settlement.settlement import Settlement

BATCH_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class _FirstStep:
    """An audit row after the step that needs no provider.

    `goes_on`: the row was open, and the step has settled it as far as it goes. `was_settled`: an earlier step had
    settled the row, and it had only news.
    """

    event: StripeEvent | None
    goes_on: bool = False
    was_settled: bool = False


class Worker:
    """Processes one audit row, and loops over those that are due. Nothing else processes a row."""

    def __init__(
        self,
        database: Database,
        settlement: Settlement,
        sender: RefundSender,
        clock: Clock,
        on_progress: Callable[[], None],
        pause: Pause,
        idle_seconds: float = PRODUCTION.loop_idle_seconds,
    ) -> None:
        """Prepare the loop; the worker calls `on_progress` whenever notices may have become due.

        `pause` is the one that all senders to Telegram share.
        """
        self._database = database
        self._settlement = settlement
        self._sender = sender
        self._clock = clock
        self._on_progress = on_progress
        self.loop = DueLoop("worker", self.work_once, idle_seconds)
        self._cooldown = Cooldown(clock)
        # One for each provider; Telegram's is shared.
        self._pauses = {TELEGRAM_STARS: pause}
        self._gate = Gate()
        self._batches = BatchSettlement(database, settlement)

    async def catch_up(self) -> None:
        """Free the rows that the last active desk claimed, and settle the oldest batch of due charges.

        The loop does the rest, and all refunds, because they go over HTTP and buyers wait for the first poll. Raises
        SQLAlchemy's errors when the database is away.
        """
        async with self._database.transaction() as session:
            await transitions.release_claims(session)
        await self._process_all([each for each in await self._due() if not each.startswith(REFUND_PREFIX)])

    async def work_once(self) -> int:
        """Process at most 50 due audit rows; return how many made progress.

        Raises SQLAlchemy's errors when the database is away.
        """
        return await self._process_all(await self._due())

    async def _due(self) -> Sequence[str]:
        async with self._database.reading() as session:
            if not await self._gate.is_open(session):
                return []
            return await events.due(session, self._clock(), BATCH_MAX, but=self._cooldown.current())

    async def _process_all(self, event_ids: Sequence[str]) -> int:
        """Process audit rows, and return how many made progress.

        The loop needs the count, because it sleeps if none did.

        1. Divide the rows into batches of different users (payments/settlement/batch.py).
        2. Settle each batch in one transaction, as far as it needs no provider and waits for no lock.
        3. Process the rest of the batch one by one; all of it, if any settlement in it failed.
        """
        if not event_ids:
            return 0
        async with self._database.reading() as session:
            user_ids = await events.users_of(session, event_ids)
        moved = 0
        for batch in divide(event_ids, user_ids):
            if self.loop.is_stopping:
                break
            settled = await self._settle_batch(batch)
            moved += sum(not self._is_still_due(event) for event in settled.values())
            for event_id in batch:
                if event_id not in settled:
                    moved += await self._process_in_loop(event_id)
        return moved

    async def _settle_batch(self, event_ids: Sequence[str]) -> dict[str, StripeEvent]:
        """Settle a batch of rows in one transaction; return the settled ones by event id, none of a batch that fails.

        Raises SQLAlchemy's errors when the database is away.
        """
        if len(event_ids) == 1:
            return {}
        self.loop.beat()
        try:
            settled = await self._batches.settle(event_ids)
        except Exception as error:
            if is_away(error) and not is_held_up(error):
                raise
            # An event that fails alone as well is logged there; a bug of batches alone would show nowhere else.
            bound = logger.opt(exception=None if is_away(error) else error)
            bound.warning("a batch of {} events failed, each settles alone: {}", len(event_ids), type(error).__name__)
            return {}
        for each in settled:
            self._report(each)
        return {each.event.event_id: each.event for each in settled}

    async def _process_in_loop(self, event_id: str) -> bool:
        """Process one audit row of the loop, unless it is stopping; True: the row made progress.

        A row that fails, even to note its failure, goes into cooldown. Raises SQLAlchemy's errors when the database is
        away.
        """
        if self.loop.is_stopping:
            return False
        self.loop.beat()
        try:
            event = await self.process(event_id)
        except Exception as error:
            if is_away(error) and not is_held_up(error):
                raise
            self._cooldown.add(event_id, "an event", error, logger.bind(event_id=event_id))
            return False
        return event is None or not self._is_still_due(event)

    def _is_still_due(self, event: StripeEvent) -> bool:
        """Tell whether the loop would find a row again at once.

        Such a row made no progress, because its processing changed nothing.
        """
        is_free = event.claimed_until is None or event.claimed_until <= self._clock()
        return event.due_at is not None and event.due_at <= self._clock() and is_free

    async def process(self, event_id: str) -> StripeEvent | None:
        """Process one audit row as far as it goes now; return it. None: no row has this id, or another process has it.

        1. Lock and settle the row in one transaction. Leave it as it is if it is not ours or not open, and while the
           gate is closed (payments/loop.py).
        2. Send a refund that is still open to its provider, with no transaction open, and then settle it. If the
           provider asks for a pause, the refund waits. If it refuses, its own list of refunds decides.
        3. Note a failure on the row, which waits for its next attempt. The last attempt parks it.
        4. Log and count a row that has come to its end, and call `on_progress`.

        Raises SQLAlchemy's errors when the database is away: then the row is as it was.
        """
        try:
            first = await self._settle_without_provider(event_id)
            event = first.event
            if event is None or not first.goes_on:
                return event
            if event.refund_of is not None and transitions.is_open(event):
                event = await self._send_refund(event)
        except Exception as error:
            if is_away(error):
                raise
            return await self._note_failure(event_id, error)
        if event is not None:
            self._report(SettledRow(event, first.was_settled))
        return event

    def _report(self, settled: SettledRow) -> None:
        """Log and count an audit row that has come to its end, and call `on_progress`."""
        if not transitions.is_open(settled.event):
            log_settled(settled.event)
            if not settled.was_settled:
                count_processed(settled.event)
            self._on_progress()

    @retry_transaction
    async def _settle_without_provider(self, event_id: str) -> _FirstStep:
        """Settle a row as far as it needs no provider, if it is ours and open, and the gate is open."""
        async with self._database.transaction() as session:
            event = await events.lock(session, event_id)
            if event is None or event.origin != ORIGIN or not transitions.is_open(event):
                return _FirstStep(event)
            if not await self._gate.is_open(session):
                return _FirstStep(event)
            was_settled = event.status == EventStatus.PROCESSED
            await self._settlement.settle_open(session, event)
        return _FirstStep(event, goes_on=True, was_settled=was_settled)

    @retry_transaction
    async def _settle_sent_refund(self, event_id: str) -> StripeEvent | None:
        """Settle a refund that its provider has made."""
        async with self._database.transaction() as session:
            return await self._settlement.settle(session, event_id, confirmed=True)

    async def _send_refund(self, refund: StripeEvent) -> StripeEvent | None:
        """Send a refund and settle it, unless its provider asks for a pause; None: another process sends it."""
        pause = self._pauses.setdefault(refund.payment_method, Pause(self._clock))
        if pause.until is not None:
            return await self._postpone(refund.event_id, pause.until)
        try:
            if not await self._sender.send(refund.event_id):
                return None
        except ChannelPauseError as error:
            if error.ends_attempt:
                await self._end_attempt(refund.event_id)
            return await self._postpone(refund.event_id, pause.ask(error.seconds))
        except RefusedByChannelError as error:
            return await self._resolve_refusal(refund.event_id, error)
        return await self._settle_sent_refund(refund.event_id)

    async def _resolve_refusal(self, event_id: str, refusal: RefusedByChannelError) -> StripeEvent | None:
        """Resolve a refusal from the provider's list of refunds; re-raise it if the list does not explain it."""
        if refusal.made is None:
            raise refusal
        # In a transaction of its own, because the attempt is over even while the meaning of the refusal is unknown:
        # under its key Stripe would go on giving the same answer (Stripe API, idempotent requests).
        await self._end_attempt(event_id)
        event = await self._settle_refused(event_id, refusal.made, str(refusal))
        if event is None:
            raise refusal
        return event

    @retry_transaction
    async def _settle_refused(self, event_id: str, made: Sequence[MadeRefund], words: str) -> StripeEvent | None:
        async with self._database.transaction() as session:
            return await resolve_refusal(session, self._settlement, event_id, made, words, self._clock())

    @retry_transaction
    async def _end_attempt(self, event_id: str) -> None:
        """End an attempt that the provider has refused, and drop its idempotency key.

        The key goes, because the next attempt needs another.
        """
        async with self._database.transaction() as session:
            refund = await events.lock(session, event_id)
            if refund is not None and transitions.is_open(refund):
                refund.attempt_key = None

    @retry_transaction
    async def _postpone(self, event_id: str, until: datetime) -> StripeEvent | None:
        """Postpone a refund for as long as its provider asks; a pause counts as no failed attempt."""
        async with self._database.transaction() as session:
            event = await events.lock(session, event_id)
            if event is not None and transitions.is_open(event):
                transitions.postpone(event, until)
        if event is not None:
            bound(event).warning("the provider asks for a pause: the refund waits until {:%H:%M:%S} UTC", until)
        return event

    @retry_transaction
    async def _note_failure(self, event_id: str, error: Exception) -> StripeEvent | None:
        is_provider = isinstance(error, ChannelAwayError | RefusedByChannelError)
        words = (str(error) if is_provider else f"{type(error).__name__}: {error}")[:ERROR_LENGTH_MAX]
        attempts_max = AWAY_ATTEMPTS_MAX if isinstance(error, ChannelAwayError) else transitions.ATTEMPTS_MAX
        async with self._database.transaction() as session:
            event = await events.lock(session, event_id)
            if event is None or not transitions.is_open(event):
                return event
            count_failed_attempt(event)
            if isinstance(error, PaymentError) and error.ends_attempt:
                event.attempt_key = None
            to_log = bound(event)
            if isinstance(error, RefusedByChannelError):
                to_log.error("the provider refuses the refund: {}", words)
                await self._settlement.parking.park(session, event, words)
            elif self._note_failed_attempt(event, words, attempts_max):
                to_log.opt(exception=error).error("attempt {} failed, the event waits", event.attempts)
            else:
                to_log.opt(exception=error).error("the last attempt failed, the event is parked")
                await self._settlement.parking.tell(session, event, words)
        self._on_progress()
        return event

    def _note_failed_attempt(self, event: StripeEvent, words: str, attempts_max: int) -> bool:
        """Note a failed attempt on its row; False: it was the last one, and the row is parked."""
        parked_at, jitter = self._settlement.telegram_now(), random.random()  # noqa: S311 - jitter
        return transitions.fail(event, words, self._clock(), jitter, attempts_max, parked_at=parked_at)

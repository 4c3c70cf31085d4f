"""Does what is due: settles events, sends refunds. What fails waits with growing pauses, then parks."""

import random
from collections.abc import Callable
from typing import Final

from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError, TelegramNotFound
from loguru import logger

from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.tables import ORIGIN, StripeEvent
from payments import events
from payments.loop import DueLoop
from payments.refund_sender import RefundSender
from payments.settlement import Settlement

BATCH_MAX: Final = 50

_FINAL = (TelegramBadRequest, TelegramForbiddenError, TelegramNotFound)


class Worker:
    """The one way by which an event is processed, and the loop over those that are due."""

    def __init__(
        self,
        database: Database,
        settlement: Settlement,
        sender: RefundSender,
        clock: Clock,
        on_progress: Callable[[], None],
    ) -> None:
        """Prepare the loop; `on_progress` is called whenever notices may have become due."""
        self._database = database
        self._settlement = settlement
        self._sender = sender
        self._clock = clock
        self._on_progress = on_progress
        self.loop = DueLoop("worker", self.work_once)

    async def catch_up(self) -> None:
        """Work off what is due at the start of the one active desk: what its predecessor had begun is free again.

        Raises SQLAlchemy's errors when the database is away.
        """
        async with self._database.transaction() as session:
            await events.release_claims(session)
        while await self.work_once():
            pass

    async def work_once(self) -> int:
        """Process what is due now, at most 50 events; return how many there were.

        Raises SQLAlchemy's errors when the database is away.
        """
        async with self._database.reading() as session:
            event_ids = await events.due(session, self._clock(), BATCH_MAX)
        for event_id in event_ids:
            await self.process(event_id)
        return len(event_ids)

    async def process(self, event_id: str) -> StripeEvent | None:
        """Bring one event as far as it goes now, and return it; None: unknown, or under way elsewhere.

        A failure is noted on the row, which waits for its next attempt. Raises SQLAlchemy's errors when the database is
        away: the row is as it was.
        """
        try:
            async with self._database.transaction() as session:
                event = await events.lock(session, event_id)
                if event is None or event.origin != ORIGIN or not events.is_open(event):
                    return event
                await self._settlement.settle_open(session, event)
            if event.refund_of is not None and events.is_open(event):
                if not await self._sender.send(event_id):
                    return None
                async with self._database.transaction() as session:
                    event = await self._settlement.settle(session, event_id, confirmed=True)
        except Exception as error:
            if is_away(error):
                raise
            return await self._note_failure(event_id, error)
        if event is not None:
            _log(event)
            self._on_progress()
        return event

    async def _note_failure(self, event_id: str, error: Exception) -> StripeEvent | None:
        bound = logger.bind(event_id=event_id)
        words = f"{type(error).__name__}: {error}"[:500]
        async with self._database.transaction() as session:
            event = await events.lock(session, event_id)
            if event is None or not events.is_open(event):
                return event
            if isinstance(error, _FINAL):
                bound.error("Telegram refuses the refund: {}", words)
                await self._settlement.park(session, event, words)
            elif events.fail(event, words, self._clock(), random.random()):  # noqa: S311 - jitter
                bound.opt(exception=error).error("attempt {} failed, the event waits", event.attempts)
            else:
                bound.opt(exception=error).error("the last attempt failed, the event is parked")
                await self._settlement.alert_parked(session, event, words)
        self._on_progress()
        return event


def _log(event: StripeEvent) -> None:
    logger.bind(
        charge_id=event.refund_of or event.event_id,
        event_type=event.event_type,
        payment_method=event.payment_method,
        user_id=event.customer_id,
        amount=event.amount_cents,
        currency=event.currency,
        status=event.status,
        outcome=event.outcome,
        reason=event.error or event.reason,
        requested_by=event.requested_by,
        happened_at=event.webhook_timestamp.isoformat() if event.webhook_timestamp else None,
    ).info("{}: {}", event.event_type, event.outcome or "set aside")

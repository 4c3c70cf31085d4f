"""Reads Stripe's events by polling: refunds and disputes that were made there take effect here.

An event says that something has happened to a charge, and what is asked of the charge itself; so the order in which
events come, and how often, does not matter. Stripe keeps them for 30 days (Stripe API, list all events). Once an hour
a reading goes back by more than a day: the update that tells of a charge may come so late, and until then its events
are a stranger's. Events of charges that are not ours (the same account sells elsewhere) are counted.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from loguru import logger
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database
from db.insert import insert_into
from db.retry import retry_transaction
from db.tables import ORIGIN, StripeEvent, StripeReading, User
from payments.audit import events
from payments.audit.balance import completing_refund
from payments.audit.facts import RefundFact
from payments.channel import MadeRefund
from payments.errors import RefusedByChannelError, UnreadableMoneyError, UnrecordableError
from payments.methods import CARDS
from payments.notices import Admins, Notice, money_facts
from payments.recording.fields import moment
from payments.refunds.at_provider import payer, record_failed, record_made
from payments.stripe.api import Dispute, Event, StripeApi
from payments.stripe.late_charges import LateCharges
from payments.stripe.lost_payments import LostPayments
from payments.stripe.trouble import Attempts, StripeTrouble, TroubleAlert, owe_trouble

REFUNDED: Final = "charge.refunded"
REFUND_FAILED: Final = "refund.failed"
REFUND_UPDATED: Final = "refund.updated"
"""Whatever is new about a refund; of one that is canceled, no other event tells (Stripe API, types of events)."""
DISPUTE_OPENED: Final = "charge.dispute.created"
DISPUTE_CLOSED: Final = "charge.dispute.closed"
EVENT_TYPES: Final = (REFUND_FAILED, REFUND_UPDATED, REFUNDED, DISPUTE_OPENED, DISPUTE_CLOSED)
"""What came back is read first: what is given back after it may otherwise seem to be all of the charge."""

POLL_SECONDS: Final = 60
LATE_SECONDS: Final = 600
"""How far each reading goes back before the newest event that was read: events need not be listed in order."""
DEEP_SECONDS: Final = 26 * 3600
"""How far a deep reading goes back. Telegram keeps an update for 24 hours (Bot API, getting updates)."""
DEEP_EVERY_SECONDS: Final = 3600
KEPT_DAYS: Final = 30


class StripeWatch:
    """The loop over Stripe's events."""

    def __init__(
        self,
        database: Database,
        api: StripeApi,
        clock: Clock,
        admins: Admins,
        on_recorded: Callable[[], None],
        lost: LostPayments | None = None,
    ) -> None:
        """Prepare; `on_recorded` is called when something was put on record that is to be settled or told.

        With `lost`, payments that never came are looked for each hour.
        """
        self._database = database
        self._api = api
        self._clock = clock
        self._admins = admins
        self._on_recorded = on_recorded
        self._lost = lost
        # By id, when each was made: those of our charges that are dealt with, as far back as a reading goes.
        self._done: dict[str, int] = {}
        self._deep_at: datetime | None = None
        self._late = LateCharges(database, clock, self._ask_about)
        self._looked_at: datetime | None = None
        self._reading = Attempts("events", TroubleAlert(database, clock, admins, on_recorded))
        refused = TroubleAlert(database, clock, admins, on_recorded, refused=StripeTrouble.CHARGES)
        self._search = Attempts("charges", refused)

    async def run(self) -> None:
        """Read again and again; a bug ends the loop."""
        while True:
            pause_seconds = await self.try_once()
            await asyncio.sleep(pause_seconds)

    async def try_once(self) -> float:
        """Read once, take note of what keeps it from reading, and return how long to wait, in seconds.

        Each hour, and after an outage at once, payments that never came or came late are looked for.
        """
        pause_seconds = await self._reading.make(self.read_once)
        if not pause_seconds and self._is_hour_since(self._looked_at):
            pause_seconds = await self._search.make(self._look)
        return max(POLL_SECONDS, pause_seconds)

    @property
    def trouble(self) -> str | None:
        """What keeps Stripe's events, or its charges, from being read; None: nothing."""
        return self._reading.trouble or self._search.trouble

    def _is_hour_since(self, then: datetime | None) -> bool:
        hour = timedelta(seconds=DEEP_EVERY_SECONDS)
        # What lies ahead was before the clock was set back.
        return then is None or not timedelta() <= self._clock() - then < hour

    async def _look(self) -> None:
        now = self._clock()
        refused: RefusedByChannelError | UnreadableMoneyError | None = None
        for look in (self._late.look, *([] if self._lost is None else [self._lost.look])):
            try:
                await look()
            except (RefusedByChannelError, UnreadableMoneyError) as error:
                refused = error
        # An answer of this kind stays the same for longer than a minute.
        self._looked_at = now
        if refused is not None:
            raise refused

    async def read_once(self) -> None:
        """Read what is new, put it on record, and note how far it went.

        Raises ChannelError when Stripe is away or refuses, UnreadableMoneyError when what answers is no Stripe, and
        SQLAlchemy's errors when the database is away.
        """
        async with self._database.reading() as session:
            reading = await session.scalar(select(StripeReading))
        before = reading.newest if reading is not None else None
        now = self._clock()
        is_deep = self._is_hour_since(self._deep_at)
        since = None if before is None else before - (DEEP_SECONDS if is_deep else LATE_SECONDS)
        newest, foreign = before, 0
        for event_type in EVENT_TYPES:
            async for page in self._api.events(event_type, since):
                others = await self._take(page)
                foreign += sum(1 for event in others if before is None or event.created > before)
                newest = max([*(event.created for event in page), *([] if newest is None else [newest])], default=None)
        await self._note(newest, foreign)
        if is_deep:
            self._deep_at = now
            self._done = {event_id: made for event_id, made in self._done.items() if since is None or made >= since}

    @retry_transaction
    async def _note(self, newest: int | None, foreign: int) -> None:
        async with self._database.transaction() as session:
            insert = insert_into(session, StripeReading).on_conflict_do_nothing(index_elements=["id"])
            await session.execute(insert, {"id": 1})
            reading = (await session.scalars(select(StripeReading).with_for_update())).one()
            now = self._clock()
            if reading.read_at is not None and now - reading.read_at > timedelta(days=KEPT_DAYS):
                await self._warn_of_a_gap(session, reading.read_at, now)
            reading.newest = newest
            reading.foreign_count += foreign
            reading.read_at = now
        if foreign:
            logger.info("{} events of Stripe are about charges that are not ours", foreign)

    async def _warn_of_a_gap(self, session: AsyncSession, read_at: datetime, now: datetime) -> None:
        logger.error("Stripe's events were last read on {:%d %B %Y}; look for refunds since then there", read_at)
        await owe_trouble(session, StripeTrouble.GAP, read_at=read_at, why="", admins=self._admins, now=now)

    async def _take(self, page: Sequence[Event]) -> list[Event]:
        """Deal with the events of our charges; return the others."""
        fresh = [event for event in page if event.id not in self._done]
        ours = await self._our_charges(fresh)
        asked: set[str] = set()
        for event in fresh:
            if event.id not in ours:
                continue
            charge, user = ours[event.id]
            bound = logger.bind(charge_id=charge.event_id, user_id=user.id, stripe_event=event.id)
            try:
                if event.type != REFUNDED:
                    await self._take_one(event, charge, user)
                elif event.charge_id not in asked:
                    await self._take_refunds(event.charge_id, charge)
                    asked.add(event.charge_id)
            except UnrecordableError as error:
                bound.error("an event of Stripe's cannot be recorded, look at the charge there: {}", error)
                await self._tell(Notice.UNRECORDED, event, charge, user, str(error))
                if isinstance(error, UnreadableMoneyError):
                    # Somebody else may have answered in Stripe's place: a reading that goes back so far asks again.
                    continue
            else:
                bound.info("an event of Stripe's was taken: {}", event.type)
            self._done[event.id] = event.created
        return [event for event in fresh if event.id not in ours]

    async def _our_charges(self, about: Sequence[Event]) -> dict[str, tuple[StripeEvent, User]]:
        """Return, by the ids of the events that are about one of our charges, that charge and whose it is."""
        payment_ids = {payment_id for event in about for payment_id in event.payment_ids}
        if not payment_ids:
            return {}
        query = (
            select(StripeEvent, User)
            .join(User, User.id == StripeEvent.customer_id)
            .where(StripeEvent.event_id.in_(map(CARDS.event_id, payment_ids)))
            .where(StripeEvent.origin == ORIGIN, StripeEvent.payment_method == CARDS.name)
        )
        async with self._database.reading() as session:
            rows = (await session.execute(query)).all()
        found = {CARDS.provider_charge_id(charge.event_id): (charge, user) for charge, user in rows}
        return {event.id: found[each] for event in about for each in event.payment_ids if each in found}

    @retry_transaction
    async def _take_refunds(self, charge_id: str, charge: StripeEvent) -> None:
        made = [each.made for each in await self._api.refunds(charge_id)]
        async with self._database.transaction() as session:
            await events.lock(session, charge.event_id)
            await record_made(session, charge, made, self._clock())
        self._on_recorded()

    async def _ask_about(self, charge: StripeEvent, user: User) -> None:
        """Ask what has become of a charge, whatever was told of it before it was on record."""
        charge_id = CARDS.provider_charge_id(charge.event_id)
        try:
            await self._take_refunds(charge_id, charge)
            for dispute in await self._api.disputes(charge_id):
                if dispute.is_lost:
                    # When it was closed is not among its facts.
                    await self._take_dispute(dispute, charge, user, self._clock())
                elif not dispute.is_closed:
                    await self._tell(Notice.DISPUTED, dispute, charge, user, dispute.reason)
        except UnreadableMoneyError:
            raise
        except UnrecordableError as error:
            logger.bind(charge_id=charge.event_id).error("what Stripe has of a late charge is not recorded: {}", error)
            await self._tell(Notice.UNRECORDED, charge, charge, user, str(error))

    async def _take_failure(self, event: Event, charge: StripeEvent, user: User) -> None:
        made = [each.made for each in await self._api.refunds(event.charge_id)]
        failed = next((each for each in made if each.id == event.object_id), None)
        if failed is None or failed.failure is None:
            return
        failed_at = moment(event.created)
        async with self._database.transaction() as session:
            await events.lock(session, charge.event_id)
            is_on_record = await record_failed(session, charge, made, failed, failed_at, self._clock())
            last = completing_refund(charge, await events.refunds_of(session, charge.event_id))
        if is_on_record:
            self._on_recorded()
        else:
            stays = "open" if last is None else "closed"
            await self._tell(Notice.REFUND_FAILED, failed, charge, user, failed.failure, stays=stays)

    async def _take_one(self, event: Event, charge: StripeEvent, user: User) -> None:
        """Deal with what concerns one object alone: a refund that came back, a dispute."""
        if event.type == REFUND_UPDATED and not event.is_of_return:
            return
        if event.type in {REFUND_FAILED, REFUND_UPDATED}:
            await self._take_failure(event, charge, user)
            return
        dispute = await self._api.dispute(event.object_id)
        if event.type == DISPUTE_OPENED:
            await self._tell(Notice.DISPUTED, dispute, charge, user, dispute.reason)
        elif dispute.is_lost:
            await self._take_dispute(dispute, charge, user, moment(event.created))
        else:
            await self._tell(Notice.DISPUTE_CLOSED, dispute, charge, user, dispute.status)

    @retry_transaction
    async def _take_dispute(self, dispute: Dispute, charge: StripeEvent, user: User, closed_at: datetime) -> None:
        fact = RefundFact(
            charge_id=charge.event_id,
            person=payer(user),
            amount=dispute.amount,
            currency=dispute.currency.upper(),
            happened_at=closed_at,
            part=dispute.id,
            is_dispute=True,
            reason=f"dispute lost: {dispute.reason}",
        )
        async with self._database.transaction() as session:
            await events.record(session, [fact], self._clock())
        self._on_recorded()

    @retry_transaction
    async def _tell(
        self,
        notice: Notice,
        about: MadeRefund | Dispute | Event | StripeEvent,
        charge: StripeEvent,
        user: User,
        reason: str | None = None,
        **facts: Any,
    ) -> None:
        facts |= money_facts(charge) | {"buyer": user.telegram_id, "reason": reason}
        if not isinstance(about, Event | StripeEvent):
            facts |= {"amount": about.amount, "currency": about.currency.upper()}
        async with self._database.transaction() as session:
            # An event that comes twice is told once: by the object that it is about.
            await self._admins.tell(session, notice, f"stripe:{about.id}", facts, self._clock())
        self._on_recorded()

"""Polls Stripe's events in a loop, so that refunds and disputes made at Stripe take effect here.

An event says only that something happened to a charge, and the desk asks Stripe for the charge's present state; so any
order and number of events has the same result. Stripe keeps events for 30 days (Stripe API, list all events). Once an
hour a reading goes back by more than a day, because the update of a charge may come so late, and until then the watch
skips its events as not ours. The watch counts events of other sales in the same account.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from loguru import logger
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database
from db.insert import insert_into
from db.retry import retry_transaction
from db.states import ORIGIN
from db.tables import StripeEvent, StripeReading, User
from db.timings import PRODUCTION
from payments.errors import RefusedByChannelError, UnreadableMoneyError, UnrecordableError
from payments.methods import CARDS
from payments.notices import Admins, Notice
from payments.stripe.api import Event, StripeApi
from payments.stripe.charge_updates import EVENT_TYPES, REFUNDED, ChargeUpdates
from payments.stripe.late_charges import LateCharges
from payments.stripe.lost_payments import LostPayments
from payments.stripe.trouble import Attempts, StripeTrouble, TroubleAlert, owe_trouble_notice

LATE_SECONDS: Final = 600
"""Each reading starts so long before the newest event read so far, because Stripe may list events out of order."""
DEEP_SECONDS: Final = 26 * 3600
"""A deep reading starts so long before it. Telegram keeps an update for 24 hours (Bot API, getting updates)."""
DEEP_EVERY_SECONDS: Final = 3600
KEPT_DAYS: Final = 30


class StripeWatch:
    """Reads Stripe's events again and again, and applies those of our charges."""

    def __init__(
        self,
        database: Database,
        api: StripeApi,
        clock: Clock,
        admins: Admins,
        on_recorded: Callable[[], None],
        lost: LostPayments | None,
        poll_seconds: float = PRODUCTION.stripe_poll_seconds,
    ) -> None:
        """Prepare; calls `on_recorded` when it has recorded an audit row or a notice that is due.

        With `lost`, the loop searches for lost payments each hour.
        """
        self._database = database
        self._api = api
        self._clock = clock
        self._admins = admins
        self._lost = lost
        self._poll_seconds = poll_seconds
        # Applied Stripe events of our charges, by id, with their dates, as far back as a reading goes.
        self._done: dict[str, int] = {}
        self._deep_at: datetime | None = None
        self._charges = ChargeUpdates(database, api, clock, admins, on_recorded)
        self._late = LateCharges(database, clock, self._charges.update_from_provider)
        self._looked_at: datetime | None = None
        self._reading = Attempts("events", TroubleAlert(database, clock, admins, on_recorded))
        refused = TroubleAlert(database, clock, admins, on_recorded, refused=StripeTrouble.CHARGES)
        self._search = Attempts("charges", refused)

    async def run(self) -> None:
        """Watch Stripe: read its events again and again; a bug ends the loop.

        1. Read each type of event from a little before the newest one on, once an hour from more than a day before.
        2. Find the events of our charges; count the others.
        3. Ask Stripe for the charge's refunds or the dispute, and record them (payments/stripe/charge_updates.py).
        4. Record the reading's newest event; tell the admins of a gap that is longer than Stripe keeps events.
        5. Once an hour, ask about late charges and search for lost payments.
        6. Tell the admins when the desk cannot read Stripe (payments/stripe/trouble.py), and wait.
        """
        while True:
            pause_seconds = await self.try_once()
            await asyncio.sleep(pause_seconds)

    async def try_once(self) -> float:
        """Read Stripe's events once, note a failure, and return the seconds to wait.

        Each hour, and at once after an outage, it asks about late charges and searches for lost payments.
        """
        pause_seconds = await self._reading.try_reading(self.read_once)
        if not pause_seconds and self._is_hour_since(self._looked_at):
            pause_seconds = await self._search.try_reading(self._search_charges)
        return max(self._poll_seconds, pause_seconds)

    @property
    def trouble(self) -> str | None:
        """The reason why the last attempt to read Stripe's events or charges failed; None: it worked."""
        return self._reading.trouble or self._search.trouble

    def _is_hour_since(self, then: datetime | None) -> bool:
        """Tell whether an hour has passed since an earlier reading of Stripe, or somebody has set the clock back."""
        hour = timedelta(seconds=DEEP_EVERY_SECONDS)
        # A moment ahead of the clock comes from before somebody set the clock back.
        return then is None or not timedelta() <= self._clock() - then < hour

    async def _search_charges(self) -> None:
        """Ask Stripe about late charges, and search it for lost payments. Raises the last refusal after both."""
        now = self._clock()
        refused: RefusedByChannelError | UnreadableMoneyError | None = None
        for look in (
            self._late.ask_about_late_charges,
            *([] if self._lost is None else [self._lost.search_lost_payments]),
        ):
            try:
                await look()
            except (RefusedByChannelError, UnreadableMoneyError) as error:
                refused = error
        # A refusal stays the same for longer than a minute.
        self._looked_at = now
        if refused is not None:
            raise refused

    async def read_once(self) -> None:
        """Read Stripe's new events, apply those of our charges, and record the progress.

        Raises ChannelError when Stripe is away or refuses, UnreadableMoneyError when the answer is unlike Stripe's, and
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
            async for page in self._api.list_events(event_type, since):
                others = await self._apply_events(page)
                foreign += sum(1 for event in others if before is None or event.created > before)
                newest = max([*(event.created for event in page), *([] if newest is None else [newest])], default=None)
        await self._record_progress(newest, foreign)
        if is_deep:
            self._deep_at = now
            self._done = {event_id: made for event_id, made in self._done.items() if since is None or made >= since}

    @retry_transaction
    async def _record_progress(self, newest: int | None, foreign: int) -> None:
        """Record the newest Stripe event and the number of foreign ones; tell the admins of a gap."""
        async with self._database.transaction() as session:
            insert = insert_into(session, StripeReading).on_conflict_do_nothing(index_elements=["id"])
            await session.execute(insert, {"id": 1})
            reading = (await session.scalars(select(StripeReading).with_for_update())).one()
            now = self._clock()
            if reading.read_at is not None and now - reading.read_at > timedelta(days=KEPT_DAYS):
                await self._tell_reading_gap(session, reading.read_at, now)
            reading.newest = newest
            reading.foreign_count += foreign
            reading.read_at = now
        if foreign:
            logger.info("{} Stripe events are about charges that are not ours", foreign)

    async def _tell_reading_gap(self, session: AsyncSession, read_at: datetime, now: datetime) -> None:
        """Tell the admins that the last reading of Stripe's events is longer ago than Stripe keeps them."""
        logger.error("Stripe's events were last read on {:%d %B %Y}; look for refunds since then there", read_at)
        await owe_trouble_notice(session, StripeTrouble.GAP, read_at=read_at, why="", admins=self._admins, now=now)

    async def _apply_events(self, page: Sequence[Event]) -> list[Event]:
        """Apply the Stripe events of our charges; return the events of others."""
        fresh = [event for event in page if event.id not in self._done]
        ours = await self._find_our_charges(fresh)
        asked: set[str] = set()
        for event in fresh:
            if event.id not in ours:
                continue
            charge, user = ours[event.id]
            bound = logger.bind(charge_id=charge.event_id, user_id=user.id, stripe_event=event.id)
            try:
                if event.type != REFUNDED:
                    await self._charges.apply_event(event, charge, user)
                elif event.charge_id not in asked:
                    await self._charges.record_refunds(event.charge_id, charge)
                    asked.add(event.charge_id)
            except UnrecordableError as error:
                bound.error("a Stripe event cannot be recorded, look at the charge at Stripe: {}", error)
                await self._charges.tell_admins(Notice.UNRECORDED, event, charge, user, str(error))
                if isinstance(error, UnreadableMoneyError):
                    # Another server may have answered in Stripe's place: the next deep reading asks again.
                    continue
            else:
                bound.info("a Stripe event was applied: {}", event.type)
            self._done[event.id] = event.created
        return [event for event in fresh if event.id not in ours]

    async def _find_our_charges(self, about: Sequence[Event]) -> dict[str, tuple[StripeEvent, User]]:
        """Find our charges, with their users, that these Stripe events are about, by the events' ids."""
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

"""Finds card charges recorded so late that the watch skipped earlier Stripe events about them as not ours.

Such a charge may have waited in quarantine, for example, while readings of Stripe's events go back by a day alone
(payments/stripe/watch.py). Each process asks Stripe about each such charge once, up to 30 days after its recording.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger
from sqlalchemy import and_, literal, or_, select, tuple_

from db.clock import Clock
from db.engine import Database
from db.states import ORIGIN
from db.tables import StripeEvent, User
from db.utc_datetime import UtcDateTime
from payments.errors import RefusedByChannelError, UnreadableMoneyError
from payments.methods import CARDS

LATE: Final = timedelta(hours=12)
"""A card charge is late if the desk recorded it so long after the payment."""
SETTLED: Final = timedelta(minutes=2)
"""All rows before a row of this age are visible, because a transaction takes less."""
LOOKED_DAYS: Final = 30
"""A search for late charges looks back so far."""
ROUND_MAX: Final = 500
"""One round looks through so many card charges; the next round goes on with the others."""
MISSING: Final = "resource_missing"
"""Stripe's code for an object that the account lacks (Stripe API, error codes): asking again is useless."""

_PLACE: Final = (StripeEvent.created_at, StripeEvent.event_id)


class LateCharges:
    """Looks through the recorded card charges for late ones, the oldest first, each once in a process."""

    def __init__(self, database: Database, clock: Clock, ask: Callable[[StripeEvent, User], Awaitable[None]]) -> None:
        """Prepare; `ask` asks Stripe about a late charge, and records Stripe's answer."""
        self._database = database
        self._clock = clock
        self._ask = ask
        self.round_max = ROUND_MAX
        self._asked: tuple[datetime, str] | None = None
        # Charges before that place for which Stripe gave no usable answer: at most ROUND_MAX, since a round begins with
        # them.
        self._ask_again: set[str] = set()

    async def ask_about_late_charges(self) -> None:
        """Look through the next ROUND_MAX card charges, and ask Stripe about the late ones.

        Raises as LostPayments.search_lost_payments does.
        """
        now = self._clock()
        since, event_id = self._asked or (now - timedelta(days=LOOKED_DAYS), "")
        further = and_(
            StripeEvent.created_at >= since,
            StripeEvent.created_at <= now - SETTLED,
            tuple_(*_PLACE) > tuple_(literal(since, UtcDateTime()), event_id),
        )
        query = (
            select(StripeEvent, User)
            .join(User, User.id == StripeEvent.customer_id)
            .where(or_(StripeEvent.event_id.in_(self._ask_again), further))
            .where(StripeEvent.origin == ORIGIN, StripeEvent.payment_method == CARDS.name)
            .where(StripeEvent.refund_of.is_(None))
            .order_by(*_PLACE)
            .limit(self.round_max)
        )
        async with self._database.reading() as session:
            rows = (await session.execute(query)).all()
        refused: RefusedByChannelError | UnreadableMoneyError | None = None
        for charge, user in rows:
            self._ask_again.discard(charge.event_id)
            try:
                if _was_recorded_late(charge):
                    await self._ask(charge, user)
            except (RefusedByChannelError, UnreadableMoneyError) as error:
                logger.bind(charge_id=charge.event_id).warning("Stripe cannot be asked about a late charge: {}", error)
                if not isinstance(error, RefusedByChannelError) or error.code != MISSING:
                    refused = error
                    self._ask_again.add(charge.event_id)
            self._asked = max(self._asked or (since, ""), (charge.created_at or since, charge.event_id))
        if refused is not None:
            raise refused


def _was_recorded_late(charge: StripeEvent) -> bool:
    """Tell whether the desk recorded a card charge late: 12 hours or more after the payment."""
    made_at, recorded_at = charge.webhook_timestamp, charge.created_at
    return made_at is not None and recorded_at is not None and recorded_at - made_at >= LATE

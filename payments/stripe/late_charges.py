"""Finds the charges by card that were put on record so late that what happened to them before was a stranger's.

The update of such a charge sat in quarantine, say; a reading of Stripe's events goes back by a day alone
(payments/stripe/watch.py). Of such a charge Stripe is asked once in a process, for 30 days.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger
from sqlalchemy import and_, literal, or_, select, tuple_

from db.clock import Clock
from db.engine import Database
from db.tables import ORIGIN, StripeEvent, User
from db.utc_datetime import UtcDateTime
from payments.errors import RefusedByChannelError, UnreadableMoneyError
from payments.methods import CARDS

LATE: Final = timedelta(hours=12)
"""How long after it was made a charge is put on record late."""
SETTLED: Final = timedelta(minutes=2)
"""How old a row is when none can appear before it any more: a transaction takes less."""
LOOKED_DAYS: Final = 30
"""Older ones are left alone."""
ROUND_MAX: Final = 500
"""How many charges are looked through at once; the next round goes on with the others."""
MISSING: Final = "resource_missing"
"""Stripe's code for what is not in the account (Stripe API, error codes): of such a charge there is nothing to ask."""

_PLACE: Final = (StripeEvent.created_at, StripeEvent.event_id)


class LateCharges:
    """The search, the oldest first, as long as the process lives."""

    def __init__(self, database: Database, clock: Clock, ask: Callable[[StripeEvent, User], Awaitable[None]]) -> None:
        """Prepare; `ask` asks Stripe what has become of a charge, and puts it on record."""
        self._database = database
        self._clock = clock
        self._ask = ask
        self._asked: tuple[datetime, str] | None = None
        # What could not be asked about, and is before that place: ROUND_MAX at most, since a round begins with it.
        self._again: set[str] = set()

    async def look(self) -> None:
        """Look through the next ROUND_MAX. Raises as LostPayments.look does."""
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
            .where(or_(StripeEvent.event_id.in_(self._again), further))
            .where(StripeEvent.origin == ORIGIN, StripeEvent.payment_method == CARDS.name)
            .where(StripeEvent.refund_of.is_(None))
            .order_by(*_PLACE)
            .limit(ROUND_MAX)
        )
        async with self._database.reading() as session:
            rows = (await session.execute(query)).all()
        refused: RefusedByChannelError | UnreadableMoneyError | None = None
        for charge, user in rows:
            self._again.discard(charge.event_id)
            try:
                if _is_late(charge):
                    await self._ask(charge, user)
            except (RefusedByChannelError, UnreadableMoneyError) as error:
                logger.bind(charge_id=charge.event_id).warning("a late charge cannot be asked about: {}", error)
                if not isinstance(error, RefusedByChannelError) or error.code != MISSING:
                    refused = error
                    self._again.add(charge.event_id)
            self._asked = max(self._asked or (since, ""), (charge.created_at or since, charge.event_id))
        if refused is not None:
            raise refused


def _is_late(charge: StripeEvent) -> bool:
    made_at, recorded_at = charge.webhook_timestamp, charge.created_at
    return made_at is not None and recorded_at is not None and recorded_at - made_at >= LATE

"""Reads the drift, in Stars, between Telegram's ledger and our audit rows at the last reconciliation.

The module imports no aiogram.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import ORIGIN, TELEGRAM_STARS, EventStatus
from db.tables import StripeEvent
from payments.ledger import progress
from payments.ledger.findings import Finding, Unexplained

T = TypeVar("T", bound=Any)

MISSING_AFTER_HOURS: Final = 1
"""Telegram's ledger may take up to an hour to show a payment or refund."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Stars of payments less refunds, in the ledger and in our rows (those that the ledger should have by now).

    `balance_off_nanostars` is the bot's balance less the sum of all ledger rows. `compared_at` is the moment at which a
    reconciliation last reached the end of the ledger's `row_count` rows. `is_pass_wanted`: a whole pass has yet to
    complete.
    """

    ledger_stars: int
    event_stars: int
    balance_off_nanostars: int
    row_count: int
    compared_at: datetime | None
    is_pass_wanted: bool

    @property
    def stars(self) -> int:
        """The drift: the Stars in our rows less the Stars in the ledger."""
        return self.event_stars - self.ledger_stars


async def read_drift(session: AsyncSession) -> Drift | None:
    """Read the drift of the last reconciliation; None: the first reconciliation has yet to run.

    The query costs one row and a part of one small index.
    """
    reading = await progress.find(session)
    if reading is None:
        return None
    unseen_stars = 0
    if reading.compared_at is not None:
        signed = case((StripeEvent.refund_of.is_(None), StripeEvent.amount_cents), else_=-StripeEvent.amount_cents)
        unseen_stars = (
            await session.scalar(
                _where_unseen_in_ledger(select(func.sum(signed)), _ledger_lag_before(reading.compared_at))
            )
            or 0
        )
    return Drift(
        reading.payment_stars,
        reading.event_stars + unseen_stars,
        reading.balance_off_nanostars or 0,
        reading.row_count,
        reading.compared_at,
        reading.pass_wanted_at is not None,
    )


async def find_missing_from_ledger(session: AsyncSession, now: datetime, limit: int) -> list[Unexplained]:
    """List our events that the ledger should show by now and lacks, the oldest first: they make the drift."""
    query = (
        _where_unseen_in_ledger(select(StripeEvent.event_id), _ledger_lag_before(now))
        .order_by(StripeEvent.created_at)
        .limit(limit)
    )
    return [Unexplained(Finding.NOT_IN_LEDGER, event_id) for event_id in await session.scalars(query)]


def _ledger_lag_before(moment: datetime) -> datetime:
    """Return the moment before which Telegram's ledger must show every event, as seen at `moment`."""
    return moment - timedelta(hours=MISSING_AFTER_HOURS)


def _where_unseen_in_ledger(query: Select[T], before: datetime) -> Select[T]:
    """Narrow a query to the events that make drift: ours from before a moment, unseen in the ledger so far."""
    return query.where(
        StripeEvent.ledger_seen_at.is_(None),
        StripeEvent.origin == ORIGIN,
        StripeEvent.payment_method == TELEGRAM_STARS,
        StripeEvent.created_at < before,
        or_(StripeEvent.processed_at.is_(None), StripeEvent.processed_at < before),
        # The ledger shows a refund only once Telegram has made it.
        or_(
            StripeEvent.refund_of.is_(None),
            StripeEvent.webhook_timestamp.is_not(None),
            StripeEvent.status == EventStatus.PROCESSED,
        ),
    )

"""Drift: Stars in our rows against Stars in Telegram's ledger, as the last comparison left it. Imports no aiogram."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import ORIGIN, TELEGRAM_STARS, EventStatus, StripeEvent
from payments.ledger import progress
from payments.ledger.findings import Finding, Unexplained

T = TypeVar("T", bound=Any)

MISSING_AFTER_HOURS: Final = 1
"""How long Telegram's ledger may take to show what has happened."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Stars of payments less refunds: in the ledger, and in our rows (those that it should have by now).

    `balance_off_nanostars` is by how much the bot's balance is not what all rows of the ledger add up to. `compared_at`
    is when a comparison last came to the end of its `row_count` rows. `is_pass_wanted`: a rebuild is not complete.
    """

    ledger_stars: int
    event_stars: int
    balance_off_nanostars: int
    row_count: int
    compared_at: datetime | None
    is_pass_wanted: bool

    @property
    def stars(self) -> int:
        """By how much our rows have more than the ledger."""
        return self.event_stars - self.ledger_stars


async def read_drift(session: AsyncSession) -> Drift | None:
    """Read how the last comparison ended; None: there was none yet. One read of one row, one of a small index."""
    stand = await progress.find(session)
    if stand is None:
        return None
    unseen_stars = 0
    if stand.compared_at is not None:
        signed = case((StripeEvent.refund_of.is_(None), StripeEvent.amount_cents), else_=-StripeEvent.amount_cents)
        unseen_stars = await session.scalar(_unseen(select(func.sum(signed)), _lag_before(stand.compared_at))) or 0
    return Drift(
        stand.payment_stars,
        stand.event_stars + unseen_stars,
        stand.balance_off_nanostars or 0,
        stand.row_count,
        stand.compared_at,
        stand.pass_wanted_at is not None,
    )


async def not_in_ledger(session: AsyncSession, now: datetime, limit: int) -> list[Unexplained]:
    """List events of ours that the ledger should have by now and was not seen to have, the oldest first."""
    query = _unseen(select(StripeEvent.event_id), _lag_before(now)).order_by(StripeEvent.created_at).limit(limit)
    return [Unexplained(Finding.NOT_IN_LEDGER, event_id) for event_id in await session.scalars(query)]


def _lag_before(moment: datetime) -> datetime:
    return moment - timedelta(hours=MISSING_AFTER_HOURS)


def _unseen(query: Select[T], before: datetime) -> Select[T]:
    """Narrow a query to what had happened at Telegram before a moment and was not seen in the ledger."""
    return query.where(
        StripeEvent.ledger_seen_at.is_(None),
        StripeEvent.origin == ORIGIN,
        StripeEvent.payment_method == TELEGRAM_STARS,
        StripeEvent.created_at < before,
        or_(StripeEvent.processed_at.is_(None), StripeEvent.processed_at < before),
        # A refund that is only asked for has not happened.
        or_(
            StripeEvent.refund_of.is_(None),
            StripeEvent.webhook_timestamp.is_not(None),
            StripeEvent.status == EventStatus.PROCESSED,
        ),
    )

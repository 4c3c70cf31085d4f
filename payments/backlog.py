"""How much waits and for how long: what a monitor asks for every few seconds, so each question has an index."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import EventStatus, OutboxMessage, QuarantinedUpdate, StripeEvent, Subscription
from payments.pending import waits
from payments.subscriptions.wanted import is_stuck

STATES: Final = ("pending", "failed", "parked")
"""Of events: not yet tried, tried and due again, and before an admin."""


@dataclass(frozen=True, slots=True)
class Queue:
    """So many that wait, and when the oldest of them was recorded (None: nothing waits)."""

    count: int = 0
    oldest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: our events by state, notices to be delivered, updates that could not be recorded, stuck renewals."""

    events: dict[str, Queue]
    notices: Queue
    quarantined: Queue
    renewals: int
    """How many are before an admin: Telegram was to cancel them, and has not."""


async def read_backlog(session: AsyncSession) -> Backlog:
    """Read what waits."""
    state = case(
        (StripeEvent.status == EventStatus.PENDING, "pending"),
        (StripeEvent.due_at.is_not(None), "failed"),
        else_="parked",
    ).label("state")
    by_state = select(state, func.count(), func.min(StripeEvent.created_at)).where(waits()).group_by(state)
    found = {name: Queue(count, oldest_at) for name, count, oldest_at in await session.execute(by_state)}
    owed = select(func.count(), func.min(OutboxMessage.created_at)).where(OutboxMessage.due_at.is_not(None))
    kept = select(func.count(), func.min(QuarantinedUpdate.created_at)).where(QuarantinedUpdate.resolved_at.is_(None))
    notices, quarantined = [(await session.execute(query)).one() for query in (owed, kept)]
    renewals = (await session.scalars(select(func.count()).select_from(Subscription).where(is_stuck()))).one()
    by_name = {name: found.get(name, Queue()) for name in STATES}
    return Backlog(by_name, Queue(*notices), Queue(*quarantined), renewals)

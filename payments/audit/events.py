"""The audit table `stripe_events`: finds, lists and locks the rows of events, for the caller's transaction.

Functions take the caller's session and never commit. payments/audit/fact_rows.py writes the rows, and
payments/audit/transitions.py moves them from status to status.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import ORIGIN, EventStatus
from db.tables import StripeEvent, User
from db.users import lock_selected_users, lock_users, select_users_to_lock
from payments.loop import where_due, where_free

_EVENT: Final = select(StripeEvent).where(StripeEvent.event_id == bindparam("event_id"))
_EVENT_TO_LOCK: Final = _EVENT.with_for_update(key_share=True).execution_options(populate_existing=True)
_PAYER_TO_LOCK: Final = select_users_to_lock(
    User.id == select(StripeEvent.customer_id).where(StripeEvent.event_id == bindparam("event_id")).scalar_subquery()
)
_REFUNDS: Final = (
    select(StripeEvent)
    .where(StripeEvent.refund_of == bindparam("charge_event_id"), StripeEvent.origin == ORIGIN)
    .order_by(StripeEvent.webhook_timestamp.nulls_last(), StripeEvent.event_id)
    .execution_options(populate_existing=True)
)


async def find(session: AsyncSession, event_id: str) -> StripeEvent | None:
    """Read the audit row of an event, without a lock; None: the table lacks it."""
    return await session.scalar(_EVENT, {"event_id": event_id})


async def find_charge(session: AsyncSession, charge_id: str | None) -> StripeEvent | None:
    """Read the audit row of a charge, without a lock; None: the table lacks it, or the id is a refund's."""
    event = None if charge_id is None else await find(session, charge_id)
    return event if event is not None and event.refund_of is None else None


async def find_named(session: AsyncSession, name: str) -> StripeEvent | None:
    """Read the audit row that a command names by event id or row id; None: the table lacks it."""
    return await find(session, name) or await session.scalar(select(StripeEvent).where(StripeEvent.id == name))


async def lock(session: AsyncSession, event_id: str) -> StripeEvent | None:
    """Lock the user of an event, then its audit row, and read the row; None: the table lacks it."""
    if not await lock_selected_users(session, _PAYER_TO_LOCK, {"event_id": event_id}):
        return None
    return await lock_row(session, event_id)


async def lock_row(session: AsyncSession, event_id: str) -> StripeEvent | None:
    """Lock the audit row of an event, and read it under the lock. The caller holds the user's lock."""
    return await session.scalar(_EVENT_TO_LOCK, {"event_id": event_id})


async def lock_users_of(
    session: AsyncSession, event_ids: Collection[str], *, skip_locked: bool = False
) -> Sequence[User]:
    """Lock the users of these audit rows, sorted by id, and return them, as `lock_users` does."""
    payers = select(StripeEvent.customer_id).where(StripeEvent.event_id.in_(event_ids))
    return await lock_users(session, User.id.in_(payers), skip_locked=skip_locked)


async def lock_rows_of(
    session: AsyncSession, users: Collection[User], event_ids: Sequence[str]
) -> Sequence[StripeEvent]:
    """Lock those of our audit rows that belong to these users, and read them in this order.

    The caller holds the users' locks. It waits for nobody, and leaves out the rows that another transaction has locked.
    """
    query = (
        select(StripeEvent)
        .where(StripeEvent.event_id.in_(event_ids), StripeEvent.origin == ORIGIN)
        .where(StripeEvent.customer_id.in_([user.id for user in users]))
        .order_by(StripeEvent.event_id)
        .with_for_update(key_share=True, skip_locked=True)
    )
    found = {event.event_id: event for event in await session.scalars(query)}
    return [found[event_id] for event_id in event_ids if event_id in found]


async def refunds_of(session: AsyncSession, charge_event_id: str) -> Sequence[StripeEvent]:
    """Read the audit rows of a charge's refunds, returned ones included, by date. The caller holds the user's lock."""
    return (await session.scalars(_REFUNDS, {"charge_event_id": charge_event_id})).all()


async def due(session: AsyncSession, now: datetime, limit: int, but: Collection[str]) -> Sequence[str]:
    """List the event ids of our due and unclaimed audit rows, the longest due first, without those in `but`."""
    query = (
        select(StripeEvent.event_id)
        .where(where_due(StripeEvent.due_at, now), StripeEvent.origin == ORIGIN)
        .where(where_free(StripeEvent.claimed_until, now))
        .where(StripeEvent.event_id.not_in(but))
        .order_by(StripeEvent.due_at, StripeEvent.webhook_timestamp, StripeEvent.event_id)
        .limit(limit)
    )
    return (await session.scalars(query)).all()


async def users_of(session: AsyncSession, event_ids: Collection[str]) -> dict[str, str]:
    """Return the `users.id` of each of these audit rows, by its event id."""
    query = select(StripeEvent.event_id, StripeEvent.customer_id).where(StripeEvent.event_id.in_(event_ids))
    return {row.event_id: row.customer_id for row in await session.execute(query)}


async def untried(session: AsyncSession, user_id: str, limit: int) -> Sequence[str]:
    """List the event ids of a user's charges that await their first settlement, the oldest first."""
    query = select(StripeEvent.event_id).where(
        StripeEvent.customer_id == user_id,
        StripeEvent.origin == ORIGIN,
        StripeEvent.status == EventStatus.PENDING,
        StripeEvent.refund_of.is_(None),
        StripeEvent.due_at.is_not(None),
    )
    query = query.order_by(StripeEvent.webhook_timestamp, StripeEvent.event_id).limit(limit)
    return (await session.scalars(query)).all()

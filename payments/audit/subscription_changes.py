"""Records changes of a subscription's state, Telegram's and the desk's own, as they come; the keeper settles them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.insert import InsertConstant
from db.states import SubscriptionState
from db.tables import Subscription, SubscriptionChange
from payments.audit.facts import Change, SubscriptionFact

_CHANGES: Final = select(SubscriptionChange).where(
    SubscriptionChange.user_id == bindparam("user_id"),
    SubscriptionChange.payload.in_(bindparam("payloads", expanding=True)),
)
_NEW_CHANGES: Final = InsertConstant(
    SubscriptionChange,
    lambda insert: insert.on_conflict_do_nothing(index_elements=["update_id", "user_id", "payload", "state"]),
)


async def record(session: AsyncSession, told: Sequence[tuple[SubscriptionFact, str]], now: datetime) -> None:
    """Record the subscription changes that Telegram tells of, each with its `users.id`; skip the known ones.

    The caller holds the users' locks. `now` is the time of recording.
    """
    rows = [
        {
            "user_id": user_id,
            "payload": fact.payload,
            "state": fact.state.value,
            "update_id": fact.update_id,
            "recorded_at": now,
        }
        for fact, user_id in told
    ]
    await session.execute(_NEW_CHANGES.on(session), rows)


def note_own(session: AsyncSession, row: Subscription, state: SubscriptionState, now: datetime) -> None:
    """Record, as settled, a subscription change that the desk has made at Telegram.

    The caller holds the user's lock, and updates the subscription.
    """
    change = SubscriptionChange(
        user_id=row.user_id,
        payload=row.payload,
        state=state.value,
        charge_id=row.first_charge_id,
        recorded_at=now,
        settled_at=now,
    )
    session.add(change)


async def read(session: AsyncSession, user_id: str, payloads: Collection[str]) -> dict[str, list[Change]]:
    """Read the recorded subscription changes of a user on each of these payloads, settled or not."""
    found: dict[str, list[Change]] = {payload: [] for payload in payloads}
    for row in await session.scalars(_CHANGES, {"user_id": user_id, "payloads": list(payloads)}):
        change = Change(
            id=row.id,
            state=SubscriptionState(row.state),
            recorded_at=row.recorded_at,
            update_id=row.update_id,
            charge_id=row.charge_id,
        )
        found[row.payload].append(change)
    return found


async def unsettled(session: AsyncSession, limit: int, but: Collection[str]) -> Sequence[tuple[str, str]]:
    """List the user and payload of unsettled subscription changes, the oldest first, without those in `but`.

    A key in `but` is a user and a payload with a space between.
    """
    query = (
        select(SubscriptionChange.user_id, SubscriptionChange.payload)
        .where(SubscriptionChange.settled_at.is_(None))
        .where((SubscriptionChange.user_id + " " + SubscriptionChange.payload).not_in(but))
        .order_by(SubscriptionChange.id)
        .limit(limit)
    )
    return [(user_id, payload) for user_id, payload in await session.execute(query)]

"""Due messages of the outbox: the oldest that waits in each chat, the most urgent chats first."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import MovedChat, OutboxMessage, StripeEvent, User
from payments.loop import AHEAD_MAX, AWAY_ATTEMPTS_MAX, where_due_at
from payments.notices import Notice, Urgency, urgency_of


@dataclass(frozen=True, slots=True)
class DueMessage:
    """A due row of the outbox, with its reader's language and its payment."""

    id: int
    event_id: str
    due_at: datetime
    kind: str
    chat_id: int
    topic_id: int | None
    facts: dict[str, Any]
    attempts: int
    is_last: bool
    """True: nothing waits behind it in its chat."""
    language_code: str | None
    event_type: str | None
    user_id: str | None
    """The user of its event, by `users.id`; None: it is about no payment."""
    moved_to: int | None
    """The new id of its chat, a group that became a supergroup; None: the chat has not moved."""

    @property
    def is_last_attempt(self) -> bool:
        """True: if this attempt fails, there is no other."""
        return self.attempts + 1 >= AWAY_ATTEMPTS_MAX


async def read_due(
    session: AsyncSession, now: datetime, unrendered: Collection[int], messages_max: int
) -> Sequence[DueMessage]:
    """Return at most so many messages due by `now`, the oldest of each chat, the most urgent chats first.

    The newer ones of a chat do not wait behind its `unrendered` ones.
    """
    values = {"now": now, "latest": now + AHEAD_MAX, "unrendered": list(unrendered), "messages_max": messages_max}
    return [
        DueMessage(id_, event_id, due_at, kind, chat_id, topic_id, json.loads(facts), *more)
        for id_, event_id, due_at, kind, chat_id, topic_id, facts, *more in await session.execute(_DUE, values)
    ]


def _select_due() -> Select[*tuple[Any, ...]]:
    """Return the query of `read_due`: one pass over all that waits, and joins for the chosen rows alone.

    The pass is a window over each chat, because PostgreSQL runs it in one way whatever its statistics say. A
    comparison of each row with the older ones of its chat (NOT EXISTS) becomes a join of all that waits with all that
    waits, if the statistics are of an outbox where nothing did.
    """
    urgent = {notice.value: urgency_of(notice).value for notice in Notice if urgency_of(notice) is not Urgency.NEWS}
    urgency = case(urgent, value=OutboxMessage.kind, else_=Urgency.NEWS.value)
    is_unrendered = OutboxMessage.id.in_(bindparam("unrendered", expanding=True))
    rendered_id = case((is_unrendered, None), else_=OutboxMessage.id)
    waiting = (
        select(
            OutboxMessage.id,
            OutboxMessage.due_at,
            func.min(rendered_id).over(partition_by=OutboxMessage.chat_id).label("first_id"),
            func.min(urgency).over(partition_by=OutboxMessage.chat_id).label("urgency"),
            func.count().over(partition_by=OutboxMessage.chat_id).label("in_chat"),
        )
        .where(OutboxMessage.due_at.is_not(None))
        .subquery("waiting")
    )
    order = waiting.c.urgency, waiting.c.due_at, waiting.c.id
    first = (
        select(waiting.c.id, waiting.c.urgency, waiting.c.in_chat)
        .where(where_due_at(waiting.c.due_at, bindparam("now"), bindparam("latest")))
        .where(waiting.c.id <= func.coalesce(waiting.c.first_id, waiting.c.id))
        .order_by(*order)
        .limit(bindparam("messages_max"))
        .subquery("first")
    )
    message = OutboxMessage
    return (
        select(
            *(message.id, message.event_id, message.due_at, message.kind, message.chat_id, message.topic_id),
            *(message.facts, message.attempts, (first.c.in_chat == 1).label("is_last")),
            *(User.language_code, StripeEvent.event_type, StripeEvent.customer_id, MovedChat.moved_to),
        )
        .join(first, first.c.id == message.id)
        .outerjoin(User, User.telegram_id == message.chat_id)
        .outerjoin(StripeEvent, StripeEvent.event_id == message.event_id)
        .outerjoin(MovedChat, MovedChat.chat_id == message.chat_id)
        .order_by(first.c.urgency, message.due_at, message.id)
    )


_DUE: Final = _select_due()

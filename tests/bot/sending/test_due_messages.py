"""Due messages of the outbox: their order, and the work that a look at them takes."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, insert, text

from bot.sending.due_messages import read_due
from db.engine import Database
from db.tables import OutboxMessage, User
from payments.notices import REPLIES, Notice, Urgency, urgency_of
from tests.support.clock import START

pytestmark = pytest.mark.engines("sqlite", "postgresql")

MANY: Final = 20_000
KINDS: Final = (Notice.REFUND_DONE, Notice.GRANTED, Notice.PARKED, Notice.RENEWAL_SOON)
CHATS: Final = (7, 8, 9)

_messages = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(CHATS), st.sampled_from([None, -1, 0, 1])), max_size=12
)
"""The kind, the chat and the hours from now to `due_at` of each message, in the order of ids; None: not waiting."""


def _rows(messages: Sequence[tuple[Notice, int, int | None]]) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "event_id": f"e{number}",
            "kind": kind.value,
            "chat_id": chat_id,
            "facts": "{}",
            "created_at": START,
            "due_at": None if hours is None else START + timedelta(hours=hours),
        }
        for number, (kind, chat_id, hours) in enumerate(messages, 1)
    ]


def _expected(messages: Sequence[tuple[Notice, int, int | None]]) -> list[int]:
    """Return the ids of the due messages in their order, read off the rules."""
    waiting = [
        (number, chat_id, kind, hours) for number, (kind, chat_id, hours) in enumerate(messages, 1) if hours is not None
    ]
    found = []
    for chat in CHATS:
        of_chat = [each for each in waiting if each[1] == chat]
        if of_chat and of_chat[0][3] <= 0:
            number, _, _, hours = of_chat[0]
            found.append((min(urgency_of(kind) for _, _, kind, _ in of_chat), hours, number))
    return [number for *_, number in sorted(found)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(messages=_messages)
async def test_oldest_of_each_chat_are_due_in_the_order_of_their_chats_urgency(
    database: Database, messages: Sequence[tuple[Notice, int, int | None]]
) -> None:
    async with database.transaction() as session:
        await session.execute(delete(OutboxMessage))
        if messages:
            await session.execute(insert(OutboxMessage), _rows(messages))
        due = await read_due(session, START, (), 50)
        first = await read_due(session, START, (), 1)
    assert [message.id for message in due] == _expected(messages)
    assert first == due[:1]
    waiting = [chat_id for _, chat_id, hours in messages if hours is not None]
    assert [message.is_last for message in due] == [waiting.count(message.chat_id) == 1 for message in due]


def test_replies_go_before_payments_and_payments_before_reminders() -> None:
    assert {urgency_of(notice) for notice in REPLIES} == {Urgency.REPLY}
    assert urgency_of(Notice.RENEWAL_DONE) < urgency_of(Notice.GRANTED) == urgency_of(Notice.REFUNDED)
    assert urgency_of(Notice.GRANTED) < urgency_of(Notice.RENEWAL_SOON) == urgency_of(Notice.ACCESS_ENDS_SOON)


def _rows_touched(plan: dict[str, Any]) -> int:
    """Return the rows that a plan's nodes have returned or thrown away, as EXPLAIN ANALYZE counts them."""
    here: float = sum(value for name, value in plan.items() if name == "Actual Rows" or name.startswith("Rows Removed"))
    own: int = round(here * plan["Actual Loops"])
    return own + sum(_rows_touched(each) for each in plan.get("Plans", ()))


@pytest.mark.engines("postgresql")
@pytest.mark.criterion("Q2")
async def test_look_at_many_due_messages_touches_each_a_few_times_with_statistics_of_none(database: Database) -> None:
    asked: list[tuple[str, Any]] = []
    async with database.transaction() as session:
        await session.execute(text("ANALYZE outbox, users, stripe_events, moved_chats"))
        people = [{"id": str(number), "telegram_id": number} for number in range(1, MANY + 1)]
        await session.execute(insert(User), people)
        await session.execute(insert(OutboxMessage), _rows([(Notice.GRANTED, each, 0) for each in range(1, MANY + 1)]))
        engine = database._writer.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
        assert len(await read_due(session, START, (), 25)) == 25
        statement, parameters = asked[-1]
        connection = await session.connection()
        answer = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    explained = answer.scalar_one()
    [plan] = json.loads(explained) if isinstance(explained, str) else explained
    # A comparison of all with all touches 200 million.
    assert _rows_touched(plan["Plan"]) <= 10 * MANY

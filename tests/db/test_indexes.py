"""The indexes are used: the plans of the queries that run often, as each engine explains them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import QueryableAttribute

from db.engine import Database
from db.tables import Checkout, EntitlementGrant, OutboxMessage, StripeEvent, User
from entitlements import EntitlementService
from payments import events, history

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
USERS = 1000
EVENTS = 4000

Ask = Callable[[AsyncSession], Awaitable[object]]


async def _fill(database: Database) -> None:
    """Enough rows that reading all of them is the worse plan: a few open ones among many that are done with."""
    rows = [
        {
            "id": str(number),
            "event_id": f"evt_{number}",
            "event_type": "charge.succeeded",
            "payment_method": "stripe",
            "customer_id": str(number % USERS),
            "amount_cents": 100,
            "currency": "USD",
            "status": 0 if number % 500 == 0 else 1,
            "created_at": NOON - timedelta(hours=number),
            "due_at": NOON if number % 500 == 0 else None,
        }
        for number in range(EVENTS)
    ]
    messages = [
        {
            "event_id": row["event_id"],
            "kind": "granted",
            "chat_id": 77,
            "facts": "{}",
            "created_at": row["created_at"],
            "due_at": row["due_at"],
        }
        for row in rows
    ]
    grants = [
        {"id": row["id"], "user_id": row["customer_id"], "entitlement_type": "premium", "source": row["event_id"]}
        | {"granted_at": NOON}
        for row in rows
    ]
    checkouts = [
        {"query_id": row["id"], "telegram_id": 77, "amount": 1, "currency": "XTR", "payload": "", "verdict": "yes"}
        | {"created_at": row["created_at"]}
        for row in rows
    ]
    async with database.transaction() as session:
        users = [{"id": str(number), "telegram_id": number} for number in range(USERS)]
        for table, of_table in (
            (User, users),
            (StripeEvent, rows),
            (OutboxMessage, messages),
            (EntitlementGrant, grants),
            (Checkout, checkouts),
        ):
            await session.execute(insert(table), of_table)
        await session.execute(text("ANALYZE"))


async def _plans(database: Database, ask: Ask) -> str:
    """Return how the engine would run each statement that `ask` makes."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        asked.append((statement, parameters))

    engine = database._reader.sync_engine
    async with database.reading() as session:
        connection = await session.connection()
        event.listen(engine, "before_cursor_execute", note)
        await ask(session)
        event.remove(engine, "before_cursor_execute", note)
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        lines: list[str] = []
        for statement, parameters in asked:
            lines += [str(row) for row in await connection.exec_driver_sql(f"{explain} {statement}", parameters)]
    return "\n".join(lines)


def _where(column: QueryableAttribute[Any], *, since: object = None, equals: object = None) -> Ask:
    condition = column == equals if since is None else column >= since
    return lambda session: session.execute(select(column.class_).where(condition))


# What is asked, and the indexes that its plan must name.
QUERIES: dict[str, tuple[Ask, set[str]]] = {
    "of a customer": (_where(StripeEvent.customer_id, equals="7"), {"ix_stripe_events_customer_id"}),
    "in a state": (_where(StripeEvent.status, equals=0), {"ix_stripe_events_status"}),
    "since a time": (_where(StripeEvent.created_at, since=NOON), {"ix_stripe_events_created_at"}),
    "checkouts since a time": (_where(Checkout.created_at, since=NOON), {"ix_checkouts_created_at"}),
    "messages to be sent": (_where(OutboxMessage.due_at, since=NOON), {"ix_outbox_due_at"}),
    "due work": (lambda session: events.due(session, NOON, 50), {"ix_stripe_events_due_at"}),
    "next due work": (events.next_due_at, {"ix_stripe_events_due_at"}),
    "history": (lambda session: history.read_page(session, "7"), {"ix_stripe_events_customer_id", "event_id"}),
    "a user by Telegram's id": (lambda session: history.find_user(session, 7), {"ux_users_telegram_id"}),
    "grants of a user": (
        lambda session: EntitlementService(session).has_entitlement("7", "premium", NOON),
        {"ix_entitlement_grants_user_type"},
    ),
}


@pytest.mark.criterion("Q2")
async def test_the_plans_use_the_indexes_and_read_no_whole_table(database: Database) -> None:
    await _fill(database)
    for name, (ask, indexes) in QUERIES.items():
        plans = await _plans(database, ask)
        missing = {index for index in indexes if index not in plans}
        assert not missing, (name, plans)
        whole_table = "SCAN " if database.is_sqlite else "Seq Scan"
        assert whole_table not in plans, (name, plans)

"""The indexes are used: the plans of the desk's own queries, as each engine explains them."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from bot.sending.due_messages import read_due
from db import users
from db.engine import Database
from db.states import ORIGIN
from db.tables import Checkout, EntitlementGrant, OutboxMessage, StripeEvent, User
from entitlements import EntitlementService
from payments import waiting
from payments.audit import events, history, subscription_changes
from payments.checkout import select_old_checkouts
from payments.loop import where_claimed
from payments.methods import STARS
from payments.reports.reader import read_report
from payments.reports.spans import Span, Step
from payments.stripe.lost_payments import select_unpaid_checkouts
from payments.subscriptions import running
from payments.subscriptions.charges import read_charges
from payments.subscriptions.keeper import select_subscriptions_to_check, select_wanted_renewals
from payments.subscriptions.reminders import select_ending_access

pytestmark = pytest.mark.engines("sqlite", "postgresql")

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
USERS = 1000
EVENTS = 4000

Ask = Callable[[Database, AsyncSession], Awaitable[object]]


async def _fill(database: Database) -> None:
    """Enough rows that reading all of them is the worse plan: a few open ones among many that are done with."""
    rows = [
        {
            "id": str(number),
            "event_id": f"charge-{number}",
            "event_type": STARS.charge_type,
            "payment_method": "telegram_stars",
            "customer_id": str(number % USERS),
            "amount_cents": 100,
            "currency": "XTR",
            "status": 0 if number % 500 == 0 else 1,
            "created_at": NOON - timedelta(hours=number),
            "webhook_timestamp": NOON - timedelta(hours=number) if number % 2 == 0 else None,
            "due_at": NOON if number % 500 == 0 else None,
            "origin": ORIGIN if number % 500 == 0 else None,
        }
        for number in range(EVENTS)
    ]
    messages = [
        {
            "event_id": row["event_id"],
            "kind": "granted",
            "chat_id": number % USERS,
            "facts": "{}",
            "created_at": row["created_at"],
            "due_at": NOON if number % 4 == 0 else None,
        }
        for number, row in enumerate(rows)
    ]
    grants = [
        {"id": row["id"], "user_id": row["customer_id"], "entitlement_type": "premium", "source": row["event_id"]}
        | {"granted_at": NOON}
        for row in rows
    ]
    checkouts = [
        {
            "query_id": row["id"],
            "telegram_id": number % USERS,
            "amount": 499,
            "payload": row["id"],
            "verdict": "accepted",
        }
        | {"currency": "USD" if number % 2 else "XTR", "created_at": row["created_at"]}
        for number, row in enumerate(rows)
    ]
    users = [{"id": str(number), "telegram_id": number, "username": f"User_{number}"} for number in range(USERS)]
    async with database.transaction() as session:
        for table, of_table in (
            (User, users),
            (StripeEvent, rows),
            (OutboxMessage, messages),
            (EntitlementGrant, grants),
            (Checkout, checkouts),
        ):
            await session.execute(insert(table), of_table)
        if not database.is_sqlite:
            # Autovacuum does it on PostgreSQL; nobody does on SQLite.
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
        await ask(database, session)
        event.remove(engine, "before_cursor_execute", note)
        if not database.is_sqlite:
            # Tables as small as these are read and joined whole where that is allowed at all.
            for way in ("seqscan", "hashjoin", "mergejoin"):
                await session.execute(text(f"SET LOCAL enable_{way} = off"))
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        lines: list[str] = []
        for statement, parameters in asked:
            if statement.startswith(("SELECT", "WITH")):
                lines += [str(row) for row in await connection.exec_driver_sql(f"{explain} {statement}", parameters)]
    return "\n".join(lines)


def _since(moment: datetime) -> Ask:
    """Ask what a report of another service asks of the shared table."""
    return lambda _, session: session.execute(select(StripeEvent).where(StripeEvent.created_at >= moment))


# Each query, and the indexes that its plan must name.
QUERIES: dict[str, tuple[Ask, set[str]]] = {
    "what is due": (lambda _, session: events.due(session, NOON, 50, but=()), {"ix_stripe_events_due_at"}),
    "what is claimed": (
        lambda _, session: session.execute(
            select(StripeEvent.id).where(where_claimed(StripeEvent.due_at, StripeEvent.claimed_until))
        ),
        {"ix_stripe_events_due_at"},
    ),
    "what waits": (
        lambda _, session: waiting.list_pending(session),
        {"ix_stripe_events_status", "ix_subscriptions_given_up"},
    ),
    "what a monitor asks": (
        lambda _, session: waiting.read_backlog(session),
        {"ix_stripe_events_status", "ix_outbox_due_at", "ix_subscriptions_given_up"},
    ),
    "events since a time": (_since(NOON), {"ix_stripe_events_created_at"}),
    "a report": (
        lambda database, _: read_report(database, Span(NOON.date(), NOON.date()), Step.DAY),
        {
            "ix_stripe_events_happened_at",
            "event_id",
            "first_charge_id",
        },
    ),
    "all refunds of a charge": (
        lambda _, session: events.refunds_of(session, "charge-7"),
        {"ix_stripe_events_refund_of"},
    ),
    "messages to be sent": (
        lambda _, session: read_due(session, NOON, (), 25),
        {"ix_outbox_", "ux_users_telegram_id"},
    ),
    "a history": (
        lambda _, session: history.read_page(session, "7"),
        {"ix_stripe_events_customer_id", "event_id", "ix_stripe_events_refund_of"},
    ),
    "an event under its payer's lock": (lambda _, session: events.lock(session, "charge-7"), {"event_id"}),
    "what a buyer holds for life": (
        lambda _, session: EntitlementService(session).buyer_holds_for_life(7),
        {"ux_users_telegram_id", "ix_entitlement_grants_user_type"},
    ),
    "a user by Telegram's id": (lambda _, session: users.find_user(session, 7), {"ux_users_telegram_id"}),
    "users by name": (lambda _, session: users.find_namesakes(session, "USER_7"), {"ix_users_username_lower"}),
    "what other subscriptions open": (
        lambda _, session: running.opened(session, 7, NOON),
        {"ux_users_telegram_id", "ix_entitlement_grants_user_type", "event_id"},
    ),
    "charges of a subscription": (
        lambda _, session: read_charges(session, "7", "p"),
        {"ix_stripe_events_customer_id"},
    ),
    "subscriptions to look at": (
        lambda _, session: session.scalars(select_subscriptions_to_check(NOON)),
        {"ix_subscriptions_check_at"},
    ),
    "renewals to be changed": (
        lambda _, session: session.scalars(select_wanted_renewals(NOON)),
        {"ix_subscriptions_due_at"},
    ),
    "what is told and not settled": (
        lambda _, session: subscription_changes.unsettled(session, 50, but=()),
        {"ix_subscription_changes_unsettled"},
    ),
    "access that ends soon": (
        lambda _, session: session.execute(select_ending_access(NOON, NOON + timedelta(days=3), None)),
        {"ix_entitlements_expires_at"},
    ),
    "card payments that never came": (
        lambda _, session: session.scalars(select_unpaid_checkouts(NOON - timedelta(hours=1), NOON)),
        {
            "ix_checkouts_by_card",
            "ix_checkouts_by_card_payload",
            "ux_users_telegram_id",
            "ix_stripe_events_customer_id",
        },
    ),
    "pre-checkouts of long ago": (
        lambda _, session: session.scalars(select_old_checkouts(NOON - timedelta(days=30))),
        {"ix_checkouts_created_at"},
    ),
    "grants of a user": (
        lambda _, session: EntitlementService(session).has_entitlement("7", "premium", NOON),
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
        # The quarantine is a handful of rows, and so is the index on unsettled events; a report has read its rows by
        # then. The index of messages has only those that wait, and all of these are looked at.
        plans = plans.replace("SCAN outbox USING INDEX ix_outbox_waiting", "")
        read_whole = set(re.findall(r"(?:SCAN|Seq Scan on) ([a-z_]+)", plans)) - {
            "quarantine",
            "subscription_changes",
            "counted",
            "waiting",
            "first",
        }
        assert not read_whole, (name, plans)

"""The rules of db/rules.py, attacked by SQL: the database refuses it for our rows, and allows it for others'."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from db.states import ORIGIN
from db.tables import EntitlementGrant, StripeEvent
from payments.audit.erasure import erase
from tests.support.document import run
from tests.support.rows import add_user

pytestmark = pytest.mark.engines("sqlite", "postgresql")

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

State = tuple[int, str | None]

SET_ASIDE: set[State] = {(2, None), (2, "foreign"), (2, "parked"), (2, "replaced")}
PROCESSED_AS: set[State] = {(1, "granted"), (1, "refunded"), (1, "returned")}

# From each state that an event can be in: where it may go.
LEGAL_MOVES: dict[State, set[State]] = {
    (0, None): {(0, None), *SET_ASIDE, *PROCESSED_AS},
    (2, None): {*SET_ASIDE, *PROCESSED_AS},
    (2, "foreign"): {(2, "foreign"), *PROCESSED_AS},
    (2, "parked"): {(2, "parked"), (2, "replaced"), *PROCESSED_AS},
    (2, "replaced"): {(2, "replaced"), *PROCESSED_AS},
    (1, "granted"): {(1, "granted")},
    (1, "refunded"): {(1, "refunded")},
    (1, "returned"): {(1, "returned")},
}
STATUSES = (-1, 0, 1, 2, 3)
OUTCOMES = (None, "granted", "refunded", "foreign", "parked", "replaced", "returned", "other")
PROCESSED = (None, NOON, LATER)

# Each column with two values that it can take, by what the database lets happen to it.
EVENT_FOR_EVER: dict[str, tuple[Any, Any]] = {
    "id": ("e1", "e9"),
    "event_id": ("charge", "other"),
    "event_type": ("telegram_stars.successful_payment", "other"),
    "payment_method": ("telegram_stars", "other"),
    "customer_id": ("u1", "u2"),
    "amount_cents": (200, 201),
    "currency": ("XTR", "USD"),
    "origin": (ORIGIN, "other"),
    "refund_of": (None, "charge"),
}
EVENT_ONCE: dict[str, tuple[Any, Any]] = {
    "webhook_timestamp": (NOON, LATER),
    "created_at": (NOON, LATER),
    "payload": ("a", "b"),
    "is_recurring": (True, False),
    "is_first_recurring": (True, False),
    "subscription_expires_at": (NOON, LATER),
    "requested_by": ("a", "b"),
    "ledger_seen_at": (NOON, LATER),
    "update_id": (1, 2),
    "parked_at": (NOON, LATER),
}
EVENT_MOVES = {"status", "outcome", "processed_at"}
EVENT_FREE = {"due_at", "attempts", "claimed_until", "error", "attempt_key"}
EVENT_ERASABLE = {"reason"}
EVENT_GROWS = {"asked_before"}

GRANT_FOR_EVER: dict[str, tuple[Any, Any]] = {
    "id": ("g1", "g9"),
    "user_id": ("u1", "u2"),
    "entitlement_type": ("premium", "other"),
    "source": ("test:1", "test:2"),
    "granted_at": (NOON, LATER),
    "duration_days": (None, 30),
}
GRANT_ONCE: dict[str, tuple[Any, Any]] = {
    "revoked_at": (NOON, LATER),
    "granted_by": ("a", "b"),
    "revoked_by": ("a", "b"),
    "opened_at": (NOON, LATER),
}
GRANT_ERASABLE = {"revoke_reason", "grant_reason"}


def _first(columns: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    return {name: values[0] for name, values in columns.items()}


async def _insert_event(session: AsyncSession, **columns: Any) -> None:
    await session.execute(insert(StripeEvent).values(**_first(EVENT_FOR_EVER) | columns))


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """Open a transaction with two users in it."""
    async with database.transaction() as session:
        for user_id in ("u1", "u2"):
            await session.execute(text("INSERT INTO users (id) VALUES (:id)"), {"id": user_id})
        yield session


@asynccontextmanager
async def _tried(session: AsyncSession) -> AsyncIterator[None]:
    """Take back what the block does, when it succeeds as when it raises."""
    savepoint = await session.begin_nested()
    try:
        yield
    finally:
        await savepoint.rollback()


async def _is_refused(session: AsyncSession, table: type[StripeEvent | EntitlementGrant], **changes: Any) -> bool:
    try:
        async with _tried(session):
            await session.execute(update(table).values(**changes))
    except IntegrityError as error:
        # A foreign key or a constraint would hide that the rule is gone.
        if "starledger:" not in str(error):
            raise
        return True
    return False


@pytest.mark.criterion("S11")
@pytest.mark.parametrize("state", LEGAL_MOVES, ids=str)
async def test_an_event_makes_the_legal_moves_and_no_other(session: AsyncSession, state: State) -> None:
    status, outcome = state
    processed_at = NOON if status == 1 else None
    await _insert_event(session)
    await session.execute(update(StripeEvent).values(status=status, outcome=outcome, processed_at=processed_at))
    allowed = [
        (*target, processed)
        for target, processed in product(product(STATUSES, OUTCOMES), PROCESSED)
        if not await _is_refused(session, StripeEvent, status=target[0], outcome=target[1], processed_at=processed)
    ]
    assert allowed == [
        (*target, processed)
        for target, processed in product(product(STATUSES, OUTCOMES), PROCESSED)
        if target in LEGAL_MOVES[state]
        and (processed is not None) is (target[0] == 1)
        and (processed_at is None or processed == processed_at)
    ]


@pytest.mark.criterion("S11")
@pytest.mark.parametrize(
    "columns",
    [
        {"status": 1},
        {"status": 2},
        {"status": 1, "outcome": "granted", "processed_at": NOON},
        {"outcome": "parked"},
        {"processed_at": NOON},
        {"amount_cents": 0},
        {"amount_cents": -1},
        {"currency": "XT"},
    ],
    ids=str,
)
async def test_an_event_is_born_pending_with_an_amount(session: AsyncSession, columns: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="starledger: an event is born pending"):
        await _insert_event(session, **columns)


@pytest.mark.criterion("S3")
@pytest.mark.parametrize("column", EVENT_FOR_EVER)
async def test_a_fact_of_an_event_is_never_changed(session: AsyncSession, column: str) -> None:
    await _insert_event(session)
    old, new = EVENT_FOR_EVER[column]
    assert await _is_refused(session, StripeEvent, **{column: new})
    assert old is None or await _is_refused(session, StripeEvent, **{column: None})
    assert not await _is_refused(session, StripeEvent, **{column: old})


@pytest.mark.parametrize("column", EVENT_ONCE)
async def test_unknown_fact_of_an_event_is_filled_in_once(session: AsyncSession, column: str) -> None:
    await _insert_event(session)
    old, new = EVENT_ONCE[column]
    await session.execute(update(StripeEvent).values(**{column: old}))
    assert await _is_refused(session, StripeEvent, **{column: new})
    assert await _is_refused(session, StripeEvent, **{column: None})
    assert not await _is_refused(session, StripeEvent, **{column: old})


async def test_a_reason_can_be_erased_and_not_rewritten(session: AsyncSession) -> None:
    await _insert_event(session, reason="it broke")
    assert await _is_refused(session, StripeEvent, reason="another")
    for erased in ("", None):
        assert not await _is_refused(session, StripeEvent, reason=erased)


async def test_new_asker_of_a_parked_refund_keeps_the_earlier_one_on_record(session: AsyncSession) -> None:
    await _insert_event(session, requested_by="a", reason="it broke")
    anew = {"requested_by": "b", "reason": "another"}
    before = '[["a", "it broke"]]'
    assert await _is_refused(session, StripeEvent, **anew, asked_before=before)
    await session.execute(update(StripeEvent).values(status=2, outcome="parked"))
    assert await _is_refused(session, StripeEvent, **anew)
    await session.execute(update(StripeEvent).values(**anew, asked_before=before))
    assert await _is_refused(session, StripeEvent, requested_by="c", asked_before=before)
    assert await _is_refused(session, StripeEvent, asked_before=None)
    await session.execute(update(StripeEvent).values(asked_before='[["a", ""]]', reason=""))
    await session.execute(update(StripeEvent).values(status=1, outcome="refunded", processed_at=NOON))
    assert await _is_refused(session, StripeEvent, requested_by="c", asked_before="[]")


async def test_work_columns_of_an_event_change_freely(session: AsyncSession) -> None:
    await _insert_event(session)
    for due_at, attempts, error in ((NOON, 1, "away"), (None, 0, None)):
        work = {"due_at": due_at, "claimed_until": due_at, "attempts": attempts, "error": error, "attempt_key": error}
        assert work.keys() == EVENT_FREE
        await session.execute(update(StripeEvent).values(**work))


def test_every_column_has_its_rule() -> None:
    ruled = EVENT_FOR_EVER.keys() | EVENT_ONCE.keys() | EVENT_MOVES | EVENT_FREE | EVENT_ERASABLE | EVENT_GROWS
    assert StripeEvent.__table__.columns.keys() == sorted(ruled, key=StripeEvent.__table__.columns.keys().index)
    assert set(EntitlementGrant.__table__.columns.keys()) == {*GRANT_FOR_EVER, "ends_at", *GRANT_ONCE, *GRANT_ERASABLE}


@pytest.mark.parametrize("column", GRANT_FOR_EVER)
async def test_a_fact_of_a_grant_is_never_changed(session: AsyncSession, column: str) -> None:
    await session.execute(insert(EntitlementGrant).values(**_first(GRANT_FOR_EVER)))
    old, new = GRANT_FOR_EVER[column]
    assert await _is_refused(session, EntitlementGrant, **{column: new})
    assert not await _is_refused(session, EntitlementGrant, **{column: old})


@pytest.mark.parametrize("column", GRANT_ONCE)
async def test_a_grant_is_revoked_once(session: AsyncSession, column: str) -> None:
    await session.execute(insert(EntitlementGrant).values(**_first(GRANT_FOR_EVER)))
    old, new = GRANT_ONCE[column]
    await session.execute(update(EntitlementGrant).values(**{column: old}))
    assert await _is_refused(session, EntitlementGrant, **{column: new})
    assert await _is_refused(session, EntitlementGrant, **{column: None})


@pytest.mark.parametrize("column", sorted(GRANT_ERASABLE))
async def test_a_reason_of_a_grant_can_be_erased_and_not_rewritten(session: AsyncSession, column: str) -> None:
    await session.execute(insert(EntitlementGrant).values(**_first(GRANT_FOR_EVER)))
    await session.execute(update(EntitlementGrant).values(**{column: "a"}))
    assert await _is_refused(session, EntitlementGrant, **{column: "b"})
    for erased in ("", None):
        assert not await _is_refused(session, EntitlementGrant, **{column: erased})


async def test_a_dated_grant_stays_dated_and_its_date_may_become_better_known(session: AsyncSession) -> None:
    await session.execute(insert(EntitlementGrant).values(**_first(GRANT_FOR_EVER)))
    assert await _is_refused(session, EntitlementGrant, ends_at=NOON)
    dated = {"id": "g2", "source": "test:2", "ends_at": NOON}
    await session.execute(insert(EntitlementGrant).values(**_first(GRANT_FOR_EVER) | dated))
    await session.execute(update(EntitlementGrant).where(EntitlementGrant.id == "g2").values(ends_at=LATER))
    assert await _is_refused(session, EntitlementGrant, ends_at=None)


async def _one_of_each(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("INSERT INTO users (id) VALUES ('u1')"))
        await _insert_event(session)
        await session.execute(insert(EntitlementGrant).values(**_first(GRANT_FOR_EVER)))


@pytest.mark.parametrize("statement", ["DELETE FROM stripe_events", "DELETE FROM entitlement_grants"])
async def test_money_rows_cannot_be_deleted(database: Database, database_url: str, statement: str) -> None:
    await _one_of_each(database)
    with pytest.raises(IntegrityError, match="starledger:"):
        await run(database_url, statement)


async def test_event_deletion_cascade(database: Database, database_url: str) -> None:
    """A user is not deleted while audit rows stand: not even from outside, where SQLite minds no foreign keys."""
    await _one_of_each(database)
    with pytest.raises(IntegrityError, match="starledger: a user with audit rows is not deleted"):
        await run(database_url, "DELETE FROM users")
    assert await run(database_url, "SELECT event_id, customer_id FROM stripe_events") == [("charge", "u1")]
    # On request the person is erased, and the rows stay (tests/payments/audit/test_erasure.py: all that goes).
    await run(database_url, "UPDATE users SET telegram_id = 5001, username = 'ann', language_code = 'en'")
    async with database.transaction() as session:
        await erase(session, 5001, NOON)
    assert await run(database_url, "SELECT telegram_id, username, language_code FROM users") == [(5001, None, None)]
    assert await run(database_url, "SELECT event_id, customer_id, amount_cents FROM stripe_events") == [
        ("charge", "u1", 200)
    ]


@pytest.mark.parametrize(
    "table", ["stripe_events", "entitlement_grants", "users CASCADE", "stripe_events, entitlement_grants"]
)
async def test_money_tables_cannot_be_truncated(postgresql_database: Database, postgresql_url: str, table: str) -> None:
    await _one_of_each(postgresql_database)
    with pytest.raises(IntegrityError, match="starledger: money rows are for ever"):
        await run(postgresql_url, f"TRUNCATE {table}")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO stripe_events SELECT * FROM stripe_events WHERE id = 'e1'",
        "UPDATE OR REPLACE stripe_events SET event_id = 'charge' WHERE id = 'theirs'",
    ],
)
async def test_money_rows_cannot_be_replaced(sqlite_database: Database, statement: str) -> None:
    await _one_of_each(sqlite_database)
    async with sqlite_database.transaction() as session:
        await _insert_event(session, id="theirs", event_id="theirs", origin="other")
    with pytest.raises(IntegrityError, match="starledger: money rows are for ever"):
        async with sqlite_database.transaction() as session:
            await session.execute(text(statement))


async def test_others_rows_and_users_are_free(database: Database) -> None:
    async with database.transaction() as session:
        user_id = await add_user(session)
        theirs = {"customer_id": user_id, "status": 7, "amount_cents": 0, "currency": "us"}
        for number, origin in enumerate((None, "other")):
            await _insert_event(session, id=str(number), event_id=str(number), **theirs | {"origin": origin})
        await session.execute(
            update(StripeEvent).values(status=0, amount_cents=-1, processed_at=NOON, event_type="other", outcome="x")
        )
        assert await _is_refused(session, StripeEvent, origin=ORIGIN)
        await session.execute(text("DELETE FROM stripe_events"))
        await session.execute(text("DELETE FROM users"))

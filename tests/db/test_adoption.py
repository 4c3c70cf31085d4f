"""The migration of a database of other services keeps its rows, and those services go on."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect, text

from db.engine import Database
from db.errors import WrongDatabaseError
from db.migrate import migrate
from db.states import ORIGIN
from db.tables import StripeEvent, User
from tests.support.document import ALEMBIC, ROWS, USERS, events_table, run

pytestmark = pytest.mark.engines("sqlite", "postgresql")

BOT_ID = 1000001
LONG_CHARGE_ID = "stxWq" * 60
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OLD_READ = (
    "SELECT id, event_id, event_type, payment_method, customer_id, amount_cents, currency, status, webhook_timestamp,"
    " processed_at FROM stripe_events ORDER BY id"
)
OLD_WRITE = (
    "INSERT INTO stripe_events (id, event_id, event_type, payment_method, customer_id, amount_cents, currency)"
    " VALUES ('e3', 'evt_3', 'charge.succeeded', 'stripe', 'u1', 100, 'EUR')"
)


@pytest.fixture
def found(empty_database_url: str, open_database: Callable[[str], Database]) -> Database:
    return open_database(empty_database_url)


async def _schema(database: Database) -> dict[str, list[tuple[str, str, bool]]]:
    """Return name, type and nullability of each table's columns."""
    async with database._writer.connect() as connection:
        return await connection.run_sync(
            lambda sync: {
                table: [(column["name"], str(column["type"]), column["nullable"]) for column in columns]
                for (_, table), columns in inspect(sync).get_multi_columns().items()
            }
        )


async def _indexed(database: Database, table: str) -> list[list[str | None]]:
    async with database._writer.connect() as connection:
        indexes = await connection.run_sync(lambda sync: inspect(sync).get_indexes(table))
    whole = [index for index in indexes if not any(key.endswith("_where") for key in index.get("dialect_options", {}))]
    return sorted([index["column_names"] for index in whole if not index.get("duplicates_constraint")], key=str)


@pytest.mark.criterion("I7")
@pytest.mark.criterion("I8")
@pytest.mark.parametrize("created_at", [True, False], ids=["created_at", "no created_at"])
async def test_an_older_services_tables_are_adopted_with_their_rows(
    found: Database, empty_database_url: str, *, created_at: bool
) -> None:
    await run(empty_database_url, USERS, *events_table(created_at=created_at), *ALEMBIC, *ROWS)
    rows_before = await run(empty_database_url, OLD_READ)
    schema_before = await _schema(found)

    await migrate(found, BOT_ID)

    assert await run(empty_database_url, OLD_READ) == rows_before
    assert await run(empty_database_url, "SELECT version_num FROM alembic_version") == [("abc123",)]
    schema = await _schema(found)
    event_id_type = "VARCHAR(255)" if found.is_sqlite else "TEXT"
    for table, columns in schema_before.items():
        expected = [(n, event_id_type if n == "event_id" else kind, null) for n, kind, null in columns]
        assert schema[table][: len(columns)] == expected
    happened_at = ["webhook_timestamp", "created_at", "processed_at"]
    indexed = [["created_at"], ["customer_id"], ["due_at"], ["status"], happened_at]
    assert await _indexed(found, "stripe_events") == indexed


@pytest.mark.criterion("I7")
async def test_old_and_new_rows_live_side_by_side(found: Database, empty_database_url: str) -> None:
    await run(empty_database_url, USERS, *events_table(created_at=False), *ROWS)
    await migrate(found, BOT_ID)
    await run(empty_database_url, OLD_WRITE, "UPDATE stripe_events SET status = 0, amount_cents = -1 WHERE id = 'e1'")
    async with found.transaction() as session:
        session.add(User(id="u3", telegram_id=6_000_000_000, username="ada", language_code="en", created_at=NOON))
        await session.flush()
        session.add(
            StripeEvent(
                id="e4",
                event_id=LONG_CHARGE_ID,
                event_type="telegram_stars.successful_payment",
                payment_method="telegram_stars",
                customer_id="u3",
                amount_cents=200,
                currency="XTR",
                origin=ORIGIN,
                created_at=NOON,
            )
        )
    read = await run(empty_database_url, "SELECT event_id, amount_cents, status FROM stripe_events ORDER BY id")
    assert read == [("evt_1", -1, 0), ("evt_2", 0, 7), ("evt_3", 100, 0), (LONG_CHARGE_ID, 200, 0)]


USERS_OF_OTHERS = (
    "CREATE TABLE users (id VARCHAR(36) PRIMARY KEY, telegram_id BIGINT, username VARCHAR(5), language_code VARCHAR(2),"
    " email TEXT NOT NULL DEFAULT '', created_at {timestamp} NOT NULL)"
)


async def test_existing_columns_of_users_are_used_as_they_are(found: Database, empty_database_url: str) -> None:
    timestamp = "TIMESTAMP" if found.is_sqlite else "TIMESTAMP WITH TIME ZONE"
    await run(
        empty_database_url,
        USERS_OF_OTHERS.format(timestamp=timestamp),
        "CREATE UNIQUE INDEX users_telegram ON users (telegram_id) WHERE telegram_id IS NOT NULL",
    )
    if not found.is_sqlite:
        await run(
            empty_database_url, "ALTER DATABASE " + str(found._writer.url.database) + " SET timezone = 'Asia/Tokyo'"
        )
    await migrate(found, BOT_ID)
    async with found.transaction() as session:
        session.add(User(id="u1", telegram_id=77, username="ada_lovelace", language_code="zh-hans", created_at=NOON))
    async with found.reading() as session:
        assert (await session.get_one(User, "u1")).created_at == NOON
    if not found.is_sqlite:
        utc = "SELECT created_at AT TIME ZONE 'UTC' FROM users"
        assert await run(empty_database_url, utc) == [(NOON.replace(tzinfo=None),)]
    # ON CONFLICT (telegram_id) takes no index that leaves rows out.
    async with found.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO users (id, telegram_id, created_at) VALUES ('u2', 77, CURRENT_TIMESTAMP)"
                " ON CONFLICT (telegram_id) DO NOTHING"
            )
        )
    assert await run(empty_database_url, "SELECT id FROM users") == [("u1",)]


@pytest.mark.criterion("I8")
@pytest.mark.parametrize(
    ("statements", "words"),
    [
        pytest.param(
            ("CREATE TABLE users (id VARCHAR(36) PRIMARY KEY, email TEXT NOT NULL, phone TEXT NOT NULL)",),
            r"users .*cannot fill \(email, phone\).*nullable.*default",
            id="a column that we cannot fill",
        ),
        pytest.param(
            (USERS, "CREATE TABLE stripe_events (id VARCHAR(36) PRIMARY KEY, shop TEXT NOT NULL)"),
            r"stripe_events .*cannot fill \(shop\)",
            id="a column of events that we cannot fill",
        ),
        pytest.param(
            ("CREATE TABLE users (id INTEGER PRIMARY KEY)",),
            r"users\.id .* INTEGER; .*text of 36",
            id="ids that are numbers",
        ),
        pytest.param(
            ("CREATE TABLE users (id VARCHAR(36) PRIMARY KEY, telegram_id TEXT)",),
            r"users\.telegram_id .* TEXT; .*BIGINT",
            id="Telegram ids that are text",
        ),
        pytest.param(
            (
                "CREATE TABLE users (id VARCHAR(36) PRIMARY KEY, telegram_id BIGINT)",
                "INSERT INTO users VALUES ('u1', 77), ('u2', 77)",
            ),
            r"shared tables cannot take.*telegram_id",
            id="two users of one Telegram id",
        ),
    ],
)
async def test_tables_that_cannot_be_shared_are_refused_and_left_alone(
    found: Database, empty_database_url: str, statements: tuple[str, ...], words: str
) -> None:
    await run(empty_database_url, *statements)
    before = await _schema(found)
    with pytest.raises(WrongDatabaseError, match=words) as refused:
        await migrate(found, BOT_ID)
    assert "\n" not in str(refused.value)
    assert await _schema(found) == before


@pytest.mark.criterion("I8")
async def test_a_view_on_the_column_to_widen_is_named_and_left_alone(
    empty_postgresql_url: str, open_database: Callable[[str], Database]
) -> None:
    view = "CREATE VIEW charges AS SELECT event_id FROM stripe_events"
    await run(empty_postgresql_url, USERS, *events_table(created_at=True), view)
    found = open_database(empty_postgresql_url)
    before = await _schema(found)
    with pytest.raises(WrongDatabaseError, match=r"\A.*cannot take the columns.*view.*\Z"):
        await migrate(found, BOT_ID)
    assert await _schema(found) == before

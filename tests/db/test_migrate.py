"""Migrations of an empty database and one of ours, and the refusal of others."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text, update

from db import rules
from db.engine import Database
from db.errors import WrongDatabaseError
from db.migrate import _MIGRATION_LOCK, migrate
from db.tables import VERSION_TABLE, Base, DeskRow
from db.timings import Timings
from tests.support.document import run
from tests.support.waiting import until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

BOT_ID = 1000001
OTHER_BOT_ID = 1000002


@pytest.fixture
def empty_database(empty_database_url: str, open_database: Callable[[str], Database]) -> Database:
    return open_database(empty_database_url)


async def _tables(database: Database) -> set[str]:
    async with database._writer.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_an_empty_database_gets_every_table_and_its_owner(empty_database: Database) -> None:
    await migrate(empty_database, BOT_ID)
    assert await _tables(empty_database) == {*Base.metadata.tables, VERSION_TABLE}
    async with empty_database.reading() as session:
        assert (await session.scalars(select(DeskRow.bot_id))).all() == [BOT_ID]


async def test_migrating_again_changes_nothing(database: Database, database_url: str) -> None:
    async with database.transaction() as session:
        await session.execute(text("INSERT INTO users (id) VALUES ('u1')"))
    await migrate(database, BOT_ID)
    assert await run(database_url, "SELECT id FROM users") == [("u1",)]


async def test_two_that_start_at_once_on_an_empty_database_both_succeed(
    empty_database_url: str, open_database: Callable[[str], Database]
) -> None:
    await asyncio.gather(*(migrate(open_database(empty_database_url), BOT_ID) for _ in range(4)))
    assert await run(empty_database_url, "SELECT bot_id FROM desk") == [(BOT_ID,)]


async def test_a_migration_may_take_longer_than_a_statement(
    empty_postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    hasty = Timings(statement_seconds=0.05)
    starting = open_database(empty_postgresql_url, hasty)
    other = open_database(empty_postgresql_url, hasty)

    async def has_waited_long() -> bool:
        waiting = await run(
            empty_postgresql_url,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
            " AND clock_timestamp() - query_start > interval '0.3 s'",
        )
        return waiting == [(1,)]

    async with other.migration() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        migrating = asyncio.create_task(migrate(starting, BOT_ID))
        await until(has_waited_long)
    await migrating


# Neither SQLAlchemy nor alembic can read an index on an expression back from SQLite: it is compared on PostgreSQL.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection", "ignore:autogenerate skipping")
async def test_the_models_are_what_the_migrations_make(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))

    async with database._writer.connect() as connection:
        assert await connection.run_sync(differences) == []


def test_the_revisions_are_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(rules.__file__).parent / "migrations"))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


async def test_a_later_revision_gets_the_rules_of_the_program(database: Database) -> None:
    """The triggers and the view are taken away before a revision and made anew after it."""

    def remake(connection: Connection) -> None:
        drops = rules.drop_statements(connection)
        assert len(drops) > len(rules._RULES)
        for statement in [*drops, *rules.create_statements(connection.dialect.name)]:
            connection.exec_driver_sql(statement)
        assert sorted(rules.drop_statements(connection)) == sorted(drops)

    async with database.migration() as connection:
        await connection.run_sync(remake)


async def test_a_database_of_a_newer_program_is_refused(database: Database, database_url: str) -> None:
    await run(database_url, "UPDATE starledger_version SET version_num = '9999'")
    with pytest.raises(WrongDatabaseError, match=r"\A.*9999.*newer Starledger\Z"):
        await migrate(database, BOT_ID)


async def test_a_database_of_another_bot_is_refused(database: Database) -> None:
    with pytest.raises(WrongDatabaseError, match=rf"\A.*{BOT_ID}.*TELEGRAM_BOT_TOKEN.*{OTHER_BOT_ID}.*\Z"):
        await migrate(database, OTHER_BOT_ID)
    async with database.transaction() as session:
        await session.execute(update(DeskRow).values(bot_id=OTHER_BOT_ID))
    await migrate(database, OTHER_BOT_ID)


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE outbox (id INTEGER)", "CREATE VIEW active_entitlements AS SELECT 1 AS user_id"],
    ids=["outbox", "active_entitlements"],
)
async def test_a_name_that_is_taken_is_refused(
    empty_database: Database, empty_database_url: str, statement: str
) -> None:
    await run(empty_database_url, statement)
    before = await _tables(empty_database)
    name = statement.split()[2]
    with pytest.raises(WrongDatabaseError, match=rf"\A.*not Starledger's: {re.escape(name)}\Z"):
        await migrate(empty_database, BOT_ID)
    assert await _tables(empty_database) == before

"""Migrations: bring the database to the program's schema, or refuse a database that is not ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import stamina
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from loguru import logger
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from db import rules
from db.engine import Database
from db.errors import NoServerError, WrongDatabaseError, another_bots, is_refusal
from db.lock.holder import find_migration_lock_holder
from db.tables import VERSION_TABLE, DeskRow

# "starled" in ASCII: the key of PostgreSQL's advisory lock for migrations.
_MIGRATION_LOCK: Final = 0x737461726C6564
_LOCK_NOT_AVAILABLE: Final = "55P03"
# PostgreSQL's SQLSTATE when a view depends on a column whose type is to change.
_FEATURE_NOT_SUPPORTED: Final = "0A000"


async def migrate(database: Database, bot_id: int) -> None:
    """Migrate the database to this program's schema and record its bot, in one transaction; a second migration waits.

    Raises WrongDatabaseError, and changes nothing, when the schema is newer than this program, when the database
    belongs to a bot other than `bot_id`, or when existing tables cannot take our columns. Raises NoServerError when
    another session holds the lock of migrations for long.
    """
    wait_seconds = database.timings.migration_wait_seconds
    async for attempt in stamina.retry_context(on=_is_locked, attempts=None, timeout=wait_seconds, wait_max=1.0):
        with attempt:
            async with database.migration() as connection:
                await connection.run_sync(_migrate, bot_id, wait_seconds)


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database: its revision (None: it has none of our tables), this program's newest, and its bot."""

    revision: str | None
    head: str | None
    is_known: bool
    bot_id: int | None


async def read_schema(database: Database) -> Schema:
    """Read the schema's revision and the bot of a database; change nothing. Raises SQLAlchemy's errors."""
    async with database.reading() as session:
        return await (await session.connection()).run_sync(_read_schema)


def _read_schema(connection: Connection) -> Schema:
    scripts = ScriptDirectory.from_config(_config(connection))
    revision = _revision(connection)
    bot_id = connection.scalar(select(DeskRow.bot_id)) if revision is not None else None
    return Schema(revision, scripts.get_current_head(), _is_known(revision, scripts), bot_id)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _is_known(revision: str | None, scripts: ScriptDirectory) -> bool:
    return revision is None or revision in {script.revision for script in scripts.walk_revisions()}


def _is_locked(error: Exception) -> bool:
    return isinstance(error, OperationalError) and "database is locked" in str(error)


def _migrate(connection: Connection, bot_id: int, wait_seconds: float) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT set_config('lock_timeout', :wait, true)"), {"wait": f"{round(1000 * wait_seconds)}ms"}
        )
        _take_migration_lock(connection, wait_seconds)
    config = _config(connection)
    scripts = ScriptDirectory.from_config(config)
    current = _revision(connection)
    if not _is_known(current, scripts):
        raise WrongDatabaseError(
            f"the database is at revision {current}, which this program does not know: it belongs to a newer Starledger"
        )
    if current != scripts.get_current_head():
        if current is not None:
            for statement in rules.drop_statements(connection):
                connection.exec_driver_sql(statement)
        _upgrade(connection, config)
    _record_owner(connection, bot_id)


def _take_migration_lock(connection: Connection, wait_seconds: float) -> None:
    """Take PostgreSQL's lock of migrations, and log its holder while waiting.

    Raises NoServerError after a long wait.
    """
    key = {"key": _MIGRATION_LOCK}
    if connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), key):
        return
    holder = find_migration_lock_holder(connection, _MIGRATION_LOCK)
    logger.info("another session migrates this database: waiting for it ({})", holder)
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise NoServerError(
            f"another session has held the lock of migrations for longer than {wait_seconds} s ({holder})"
        ) from error


def _upgrade(connection: Connection, config: Config) -> None:
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        if is_refusal(error) or getattr(error.orig, "sqlstate", None) == _FEATURE_NOT_SUPPORTED:
            raise WrongDatabaseError(
                f"the shared tables cannot take the columns that Starledger adds: {error.orig}"
            ) from error
        raise
    for statement in rules.create_statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def _record_owner(connection: Connection, bot_id: int) -> None:
    owner = connection.scalar(select(DeskRow.bot_id))
    if owner is None:
        connection.execute(insert(DeskRow).values(id=1, bot_id=bot_id))
    elif owner != bot_id:
        raise another_bots(owner, bot_id)

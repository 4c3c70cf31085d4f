"""The database connection of the operator's commands, beside a running desk or without one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.settings import Settings
from db.engine import Database
from db.migrate import migrate


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database, migrate it, and check that it is this bot's. Raises as migrate."""
    database = Database(settings.database_url.get_secret_value())
    try:
        await migrate(database, settings.bot_id)
        yield database
    finally:
        await database.dispose()

"""The database connection of the operator's commands, beside a running desk or without one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from bot.settings import Settings
from db.engine import Database
from db.migrate import migrate
from db.timings import PRODUCTION

SQLITE_BUSY_SECONDS: Final = 10.0
"""The longest wait of a command for the desk's lock of the SQLite file. SQLite has no queue between processes: it asks
ten times a second, and a desk that settles a backlog leaves the lock free for a few milliseconds between two batches.
"""


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database, migrate it, and check that it is this bot's. Raises as migrate."""
    timings = replace(PRODUCTION, sqlite_busy_seconds=SQLITE_BUSY_SECONDS)
    database = Database(settings.database_url.get_secret_value(), timings)
    try:
        await migrate(database, settings.bot_id)
        yield database
    finally:
        await database.dispose()

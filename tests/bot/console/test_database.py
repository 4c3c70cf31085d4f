"""bot/console/database.py: a command's patience with the desk beside it."""

import pytest
from sqlalchemy import text

from bot.console.database import open_database
from bot.settings import Settings
from db.timings import PRODUCTION


@pytest.mark.engines("sqlite")
@pytest.mark.usefixtures("commands")
async def test_command_waits_longer_for_the_file_than_the_desk_does() -> None:
    async with open_database(Settings.load()) as database, database.transaction() as session:
        waits_milliseconds = await session.scalar(text("PRAGMA busy_timeout"))
    assert waits_milliseconds == 10_000 * PRODUCTION.sqlite_busy_seconds

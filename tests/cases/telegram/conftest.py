"""The handlers before a sandbox, and the log, for what stands between the desk and Telegram."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from db.engine import Database
from tests.support.chats import Chats, running_chats
from tests.support.logs import log_lines


@pytest_asyncio.fixture
async def chats(sqlite_database: Database) -> AsyncIterator[Chats]:
    async with running_chats(sqlite_database) as chats:
        yield chats


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Give the lines of the log from INFO on, each as `LEVEL: message`."""
    with log_lines() as lines:
        yield lines

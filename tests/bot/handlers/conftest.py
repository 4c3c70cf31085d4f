from collections.abc import AsyncIterator

import pytest_asyncio

from db.engine import Database
from tests.support.chats import Chats, running_chats


@pytest_asyncio.fixture
async def chats(database: Database) -> AsyncIterator[Chats]:
    async with running_chats(database) as chats:
        yield chats

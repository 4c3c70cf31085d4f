from collections.abc import AsyncIterator

import pytest_asyncio

from db.engine import Database
from sandbox.server import running_sandbox
from tests.bot.sending.owed import ADMIN, ANN, BOB, Owed
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock


@pytest_asyncio.fixture
async def owed(database: Database, clock: FakeClock) -> AsyncIterator[Owed]:
    async with running_sandbox() as server:
        await server.client.add_person("Ann", id=ANN, started=True)
        await server.client.add_person("Bob", id=BOB, started=True)
        await server.client.add_person("Max", id=ADMIN, started=True)
        async with talking_bot(server.url, server.token) as bot:
            yield Owed(server.client, bot, database, clock)

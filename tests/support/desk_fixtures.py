"""The money side of the desk on each engine, and a Telegram that it can call: for a conftest to import."""

from collections.abc import AsyncIterator

import pytest
from aiogram import Bot

from bot.desk.wiring import Desk as Parts
from db.engine import Database
from payments.ledger.fetching import TelegramLedger
from payments.settlement.worker import Worker
from payments.telegram import TelegramPaymentHandler
from sandbox.client import SandboxClient
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock
from tests.support.desk import Desk, wired
from tests.support.ledger import Books
from tests.support.money import TOKEN


@pytest.fixture
def desk(database: Database, clock: FakeClock) -> Desk:
    return Desk(database, clock)


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with running_sandbox(Settings(token=TOKEN, seed=1)) as running:
        yield running


@pytest.fixture
def telegram(server: SandboxServer) -> SandboxClient:
    return server.client


@pytest.fixture
async def bot(server: SandboxServer) -> AsyncIterator[Bot]:
    async with talking_bot(server.url, server.token) as bot:
        yield bot


@pytest.fixture
def parts(desk: Desk, bot: Bot) -> Parts:
    """Give the parts of a desk; `desk` settles by the same rules."""
    parts = wired(desk.database, desk.clock, bot)
    desk.settlement = parts.settlement
    return parts


@pytest.fixture
def worker(parts: Parts) -> Worker:
    return parts.worker


@pytest.fixture
def handler(parts: Parts) -> TelegramPaymentHandler:
    return parts.handler


@pytest.fixture
def books(desk: Desk, bot: Bot) -> Books:
    return Books(desk, TelegramLedger(bot))

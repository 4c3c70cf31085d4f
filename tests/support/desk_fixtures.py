"""The money side of the desk on each engine, and a Telegram that it can call: for a conftest to import."""

from collections.abc import AsyncIterator

import pytest
from aiogram import Bot

from db.engine import Database
from payments.channel import by_name
from payments.checkout import CheckoutDesk
from payments.ledger.fetching import TelegramLedger
from payments.refunds.sending import RefundSender
from payments.settlement.worker import Worker
from payments.stars import StarsChannel
from payments.telegram import TelegramPaymentHandler
from sandbox.client import SandboxClient
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.bots import talking_bot
from tests.support.clock import FakeClock
from tests.support.desk import Desk
from tests.support.ledger import Books
from tests.support.money import CATALOG, SIGNER, TOKEN
from tests.support.waiting import WAIT_SECONDS


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
def worker(desk: Desk, bot: Bot) -> Worker:
    sender = RefundSender(desk.database, by_name(StarsChannel(bot)), desk.clock)
    return Worker(desk.database, desk.settlement, sender, desk.clock, on_progress=lambda: None)


@pytest.fixture
def handler(desk: Desk, bot: Bot, worker: Worker) -> TelegramPaymentHandler:
    checkouts = CheckoutDesk(desk.database, CATALOG, SIGNER, desk.clock, WAIT_SECONDS)
    return TelegramPaymentHandler(bot, desk.database, SIGNER, checkouts, worker, desk.clock)


@pytest.fixture
def books(desk: Desk, bot: Bot) -> Books:
    return Books(desk, TelegramLedger(bot))

import pytest
from aiogram import Bot

from payments.ledger.telegram import TelegramLedger
from tests.support.desk import Desk
from tests.support.desk_fixtures import bot, desk, handler, server, telegram, worker
from tests.support.ledger import Books

__all__ = ["bot", "desk", "handler", "server", "telegram", "worker"]


@pytest.fixture
def books(desk: Desk, bot: Bot) -> Books:
    return Books(desk, TelegramLedger(bot))

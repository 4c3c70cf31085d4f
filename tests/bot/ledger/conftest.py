import pytest
from aiogram import Bot

from payments.ledger.telegram import TelegramLedger
from tests.support.desk import Desk
from tests.support.desk_fixtures import bot, desk, server, telegram
from tests.support.ledger import Books

__all__ = ["bot", "desk", "server", "telegram"]


@pytest.fixture
def books(desk: Desk, bot: Bot) -> Books:
    return Books(desk, TelegramLedger(bot))

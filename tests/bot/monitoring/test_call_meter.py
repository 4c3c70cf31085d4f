from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.exceptions import TelegramAPIError

from bot.monitoring.call_meter import CallMeter
from bot.poll.intake import GetRawUpdates
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer, running_sandbox
from tests.support.bots import talking_bot
from tests.support.samples import added


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with running_sandbox() as running:
        yield running


@pytest_asyncio.fixture
async def meter() -> CallMeter:
    return CallMeter()


@pytest_asyncio.fixture
async def bot(server: SandboxServer, meter: CallMeter) -> AsyncIterator[Bot]:
    async with talking_bot(server.url, server.token) as bot:
        bot.session.middleware(meter)
        yield bot


@pytest.mark.criterion("O7")
async def test_calls_are_counted_by_how_they_ended(bot: Bot, meter: CallMeter) -> None:
    with added() as grown:
        await bot.get_me()
        with pytest.raises(TelegramAPIError):
            await bot.send_message(1, "to nobody")
    assert {name: value for name, value in grown.items() if "_sum" not in name} == {
        "starledger_telegram_calls_total{method=getMe,outcome=ok}": 1,
        "starledger_telegram_calls_total{method=sendMessage,outcome=bad_request}": 1,
        "starledger_telegram_call_seconds_count{method=getMe}": 1,
    }
    assert meter.trouble is None, "what was asked was wrong, and Telegram was there"


@pytest.mark.criterion("O7")
async def test_a_pause_that_telegram_asks_for_is_counted(bot: Bot, server: SandboxServer, meter: CallMeter) -> None:
    await server.client.add_fault(FaultKind.RETRY_AFTER, method="getUpdates", retry_after_seconds=7)
    with added() as grown, pytest.raises(TelegramAPIError):
        await bot(GetRawUpdates(timeout=0))
    assert grown == {
        "starledger_telegram_calls_total{method=getUpdates,outcome=retry_after}": 1,
        "starledger_telegram_retry_after_seconds_total{}": 7,
    }
    troubles = [meter.trouble]
    await bot(GetRawUpdates(timeout=0))
    assert [*troubles, meter.trouble] == ["Telegram asks to be left alone for a while", None]
    assert meter.pulse.is_alive


async def test_a_telegram_that_cannot_be_reached_is_trouble(meter: CallMeter) -> None:
    async with talking_bot("http://127.0.0.1:1", "1000001:nobody-listens-there") as bot:
        bot.session.middleware(meter)
        with pytest.raises(TelegramAPIError):
            await bot.get_me()
    assert meter.trouble == "Telegram cannot be reached: TelegramNetworkError"

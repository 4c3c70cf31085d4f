"""The parts that the settings alone make: the bot, the signer of payloads, the admins, and the clocks."""

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Final

import aiohttp
from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.client.telegram import PRODUCTION, TEST, TelegramAPIServer
from aiogram.enums import ParseMode
from loguru import logger

from bot.calls.network import proxy_to_telegram
from bot.calls.telegram_session import TelegramSession
from bot.calls.telegram_time import TelegramTime
from bot.calls.time_reader import TimeReader
from bot.desk.tasks import background
from bot.monitoring.logs import hider
from bot.settings import TELEGRAM_API_URL, TELEGRAM_TEST_URL, Settings
from db.clock import Clock, utc_now
from db.timings import Timings
from payments.notices import Admins
from payments.sale.payload import PayloadSigner

CALL_SECONDS: Final = 20
"""The longest time of one call to Telegram, unless the call has a time of its own (payments/channel.py)."""


def make_bot(settings: Settings, telegram_time: TelegramTime | None = None) -> Bot:
    """Make the bot that calls Telegram; the caller closes its session.

    `telegram_time` learns Telegram's time from every answer. Raises SettingsError.
    """
    known = {TELEGRAM_API_URL: PRODUCTION, TELEGRAM_TEST_URL: TEST}
    server = known.get(settings.telegram_api_url) or TelegramAPIServer.from_base(settings.telegram_api_url)
    hide = hider(settings.secrets())
    session = TelegramSession(proxy_to_telegram(settings), hide, api=server, timeout=CALL_SECONDS)
    if telegram_time is not None:
        reader = TimeReader(telegram_time)
        session.middleware(reader)
        session.traces.append(reader.trace)
    return Bot(
        settings.telegram_bot_token.get_secret_value(),
        session=session,
        default=DefaultBotProperties(parse_mode=ParseMode.HTML),
    )


def make_signer(settings: Settings) -> PayloadSigner:
    """Make the signer of payloads, which also reads those signed under former tokens."""
    old_tokens = [token.get_secret_value() for token in settings.telegram_bot_tokens_old]
    return PayloadSigner(settings.telegram_bot_token.get_secret_value(), old_tokens)


def make_admins(settings: Settings) -> Admins:
    """Make the list of admins, and of the places where they get alerts, from the settings."""
    return Admins(settings.admin_ids, settings.admin_chat_id, settings.admin_topic_id)


def make_telegram_time(settings: Settings, clock: Clock) -> TelegramTime:
    """Make the clock of Telegram's time; in a sandbox, one that tests move."""
    steady = None if settings.sandbox_clock_url is None else lambda: clock().timestamp()
    return TelegramTime(clock, steady)


async def open_clock(settings: Settings, stack: AsyncExitStack, timings: Timings) -> Clock:
    """Open the desk's clock: the machine's, or the sandbox's, which it follows until the stack closes."""
    if settings.sandbox_clock_url is None:
        return utc_now
    clock = FollowedClock(settings.sandbox_clock_url, timings)
    await clock.begin()
    await stack.enter_async_context(background([clock.follow()]))
    return clock


class FollowedClock:
    """The sandbox's clock: the machine's plus an offset, which it reads from the sandbox again and again."""

    def __init__(self, url: str, timings: Timings) -> None:
        self._url = url
        self._pause_seconds = timings.sandbox_clock_pause_seconds
        self._timeout = aiohttp.ClientTimeout(total=timings.sandbox_clock_answer_seconds)
        self._offset = timedelta()

    def __call__(self) -> datetime:
        """Return the sandbox's time, aware, in UTC."""
        return utc_now() + self._offset

    async def begin(self) -> None:
        """Read the offset of the sandbox's clock once; leave it to `follow` while the sandbox is away."""
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            await self._ask_patiently(session)

    async def follow(self) -> None:
        """Follow the offset of the sandbox's clock until cancelled; keep the last one while the sandbox is away."""
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            while True:
                await self._ask_patiently(session)
                await asyncio.sleep(self._pause_seconds)

    async def _ask_patiently(self, session: aiohttp.ClientSession) -> None:
        try:
            await self.ask(session)
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.debug("the sandbox's clock does not answer: {}", type(error).__name__)

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Ask the sandbox's control API for the offset of its clock. Raises aiohttp.ClientError, and TimeoutError."""
        async with session.get(self._url, raise_for_status=True) as answer:
            said = await answer.json()
        self._offset = timedelta(seconds=said["result"]["offset_seconds"])

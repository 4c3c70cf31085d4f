"""What the desk and the commands make alike of the settings: the caller at Telegram, the signer, the clock."""

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
"""How long one call to Telegram may take, unless it says so itself (payments/channel.py)."""


def make_bot(settings: Settings, telegram_time: TelegramTime | None = None) -> Bot:
    """Make the caller at Telegram that the settings name; whoever made it closes its session.

    `telegram_time` learns of every answer. Raises SettingsError.
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
    """Make the signer of payloads; it reads those of former tokens too."""
    old_tokens = [token.get_secret_value() for token in settings.telegram_bot_tokens_old]
    return PayloadSigner(settings.telegram_bot_token.get_secret_value(), old_tokens)


def make_admins(settings: Settings) -> Admins:
    """Make the admins whom the settings name."""
    return Admins(settings.admin_ids, settings.admin_chat_id, settings.admin_topic_id)


def make_telegram_time(settings: Settings, clock: Clock) -> TelegramTime:
    """Make the clock that gives Telegram's present; a sandbox's clock is moved, and moves it."""
    steady = None if settings.sandbox_clock_url is None else lambda: clock().timestamp()
    return TelegramTime(clock, steady)


async def open_clock(settings: Settings, stack: AsyncExitStack, timings: Timings) -> Clock:
    """Return the clock: the machine's, or the sandbox's, which is followed until the stack is closed."""
    if settings.sandbox_clock_url is None:
        return utc_now
    clock = FollowedClock(settings.sandbox_clock_url, timings)
    await clock.begin()
    await stack.enter_async_context(background([clock.follow()]))
    return clock


class FollowedClock:
    """The machine's clock plus the sandbox's offset, which is asked for twice a second."""

    def __init__(self, url: str, timings: Timings) -> None:
        self._url = url
        self._pause_seconds = timings.sandbox_clock_pause_seconds
        self._timeout = aiohttp.ClientTimeout(total=timings.sandbox_clock_answer_seconds)
        self._offset = timedelta()

    def __call__(self) -> datetime:
        """Return the sandbox's present, aware, in UTC."""
        return utc_now() + self._offset

    async def begin(self) -> None:
        """Ask once, before anything asks for the time; a sandbox that is away is asked again later."""
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            await self._ask_patiently(session)

    async def follow(self) -> None:
        """Ask for the offset until cancelled; a sandbox that is away leaves it as it was."""
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
        """Ask once, the sandbox's control operation `clock`. Raises aiohttp.ClientError, and TimeoutError."""
        async with session.get(self._url, raise_for_status=True) as answer:
            said = await answer.json()
        self._offset = timedelta(seconds=said["result"]["offset_seconds"])

"""The watch over the machine's clock: measures it against Telegram's, and tells the admins daily if it is wrong."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiogram import Bot
from loguru import logger

from bot.calls.telegram_time import SKEW_AT_START_MAX, SKEW_MAX, SPANS_NEEDED, TelegramTime, skew_in_words
from bot.settings import SettingsError
from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from payments.notices import Admins, Notice
from payments.telegram_errors import TELEGRAM_ERRORS

if TYPE_CHECKING:
    from datetime import date

LOOK_SECONDS: Final = 1.0
MEASURE_SECONDS: Final = 600.0
"""From one measurement to the next, while nothing contradicts the believed time."""
DOUBT_SECONDS: Final = 30.0
"""From one measurement to the next, even if answers contradict the believed time."""


async def measure(bot: Bot, telegram_time: TelegramTime) -> None:
    """Measure the machine's clock by calls to Telegram until its time is sure. Raises aiogram's errors."""
    telegram_time.is_doubted = False
    for _ in range(SPANS_NEEDED):
        await bot.get_me()


async def check_at_start(bot: Bot, telegram_time: TelegramTime) -> None:
    """Check the machine's clock against Telegram's time once, at the start.

    Raises SettingsError when the machine's clock is more than a day off, and aiogram's errors.
    """
    # Earlier calls have shown the time roughly: while that fits the machine's clock no call is made.
    if telegram_time.is_doubted:
        await measure(bot, telegram_time)
    skew = telegram_time.skew
    if abs(skew) > SKEW_AT_START_MAX:
        raise SettingsError(f"{skew_in_words(skew)}: set it right (timedatectl set-ntp true), and start again")
    if abs(skew) > SKEW_MAX:
        logger.warning(skew_in_words(skew))


class ClockWatch:
    """Measures the machine's clock again and again; `trouble` says that it is wrong."""

    def __init__(
        self,
        bot: Bot,
        telegram_time: TelegramTime,
        database: Database,
        clock: Clock,
        admins: Admins,
        on_owed: Callable[[], None],
    ) -> None:
        """Make the watch; it calls `on_owed` when a notice is due."""
        self._bot = bot
        self._time = telegram_time
        self._database = database
        self._clock = clock
        self._admins = admins
        self._on_owed = on_owed
        self._told_on: date | None = None

    @property
    def trouble(self) -> str | None:
        """The error of the machine's clock, and the mend, in words; None: the clock is right, or nobody knows."""
        return self._time.trouble

    async def run(self) -> None:
        """Measure the clock again and again, and tell the admins if it is wrong, until cancelled."""
        loop = asyncio.get_running_loop()
        measured_at = loop.time() - DOUBT_SECONDS
        while True:
            pause_seconds = DOUBT_SECONDS if self._time.is_doubted else MEASURE_SECONDS
            if loop.time() >= measured_at + pause_seconds:
                measured_at = loop.time()
                await self._measure()
            await self._tell()
            await asyncio.sleep(LOOK_SECONDS)

    async def _measure(self) -> None:
        try:
            await measure(self._bot, self._time)
        except TELEGRAM_ERRORS as error:
            logger.debug("Telegram's time cannot be asked for: {}", type(error).__name__)

    async def _tell(self) -> None:
        """Owe the admins the notice of a wrong clock, once a day (Telegram's); log while the database is away."""
        why, now = self.trouble, self._time()
        if why is None or self._told_on == now.date():
            return
        try:
            async with self._database.transaction() as session:
                key, facts = f"clock:{now:%Y-%m-%d}", {"why": skew_in_words(self._time.skew)}
                await self._admins.tell(session, Notice.CLOCK, key, facts, self._clock())
        except Exception as error:
            if not is_away(error):
                raise
            logger.error("the notice of the wrong clock cannot be recorded yet: {}", type(error).__name__)
        else:
            logger.warning(why)
            self._told_on = now.date()
            self._on_owed()

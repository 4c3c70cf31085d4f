"""The start of a desk: takes the lock, migrates the database, checks token and clock, and marks a lost database."""

import asyncio
import time

from aiogram import Bot
from loguru import logger

from bot.calls.telegram_time import TelegramTime
from bot.desk.clock_watch import check_at_start
from bot.desk.ledger_watch import open_ledger
from bot.monitoring.health import Health
from bot.poll.polling import Outage
from bot.settings import Settings, SettingsError
from db.clock import Clock
from db.engine import Database
from db.errors import UnfitServerError, is_away
from db.lock import DeskLock
from db.migrate import migrate
from db.timings import PRODUCTION, Timings
from payments.ledger.fetching import TelegramLedger
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, TelegramError, fate_of, in_words


async def prepare(
    settings: Settings,
    database: Database,
    lock: DeskLock,
    bot: Bot,
    clock: Clock,
    health: Health,
    telegram_time: TelegramTime,
    timings: Timings = PRODUCTION,
) -> None:
    """Start a desk: take the lock, migrate the database, check token and clock.

    1. Take the desk's lock, or stand by until it is free; migrate the database.
    2. Ask Telegram whose the token is.
    3. Check the machine's clock against `telegram_time`.
    4. Mark a lost database for a whole pass over the ledger, and begin the pass that is wanted.

    It waits without limit for a database or a Telegram that is away. Raises WrongDatabaseError and UnfitServerError
    when only another setting mends it, and SettingsError for a token that Telegram does not know, and for a clock that
    is more than a day off.
    """
    await _become_active(settings, database, lock, health, timings)
    outage = Outage(timings)
    refused_at: float | None = None
    while True:
        try:
            me = await bot.get_me()
            await check_at_start(bot, telegram_time)
            await open_ledger(database, TelegramLedger(bot), clock, timings)
        except TELEGRAM_ERRORS as error:
            refused_at = _refused_at(error, refused_at, timings.token_patience_seconds)
            # systemd ends a start that takes too long; a desk that notes its wait counts as up.
            health.note("start", f"it waits for Telegram: {in_words(error)}")
            await outage.wait(error)
        else:
            health.note("start", None)
            outage.over()
            logger.info("this is @{}", me.username)
            return


def _refused_at(error: TelegramError, since: float | None, patience_seconds: float) -> float | None:
    """Return the time of Telegram's first refusal of the token, by time.monotonic; None: it does not refuse it.

    Raises SettingsError after `patience_seconds`, and at once for a token of a wrong form.
    """
    if fate_of(error) is not Fate.TOKEN:
        return None
    now = time.monotonic()
    since = now if since is None else since
    if now - since < patience_seconds and "invalid token" not in error.message:
        return since
    raise SettingsError(
        "TELEGRAM_BOT_TOKEN is not a token that Telegram knows: put the one that @BotFather shows into .env"
    )


async def _become_active(
    settings: Settings, database: Database, lock: DeskLock, health: Health, timings: Timings
) -> None:
    said = None
    while True:
        try:
            await lock.acquire()
            await migrate(database, settings.bot_id)
            break
        except Exception as error:
            # PostgreSQL has let in a desk that stands by, so a wrong password may be a change under way.
            is_setting = isinstance(error, UnfitServerError) and lock.holder is None
            if is_setting or not is_away(error):
                raise
            if said is None:
                said = str(error).partition("\n")[0]
                logger.error("the database cannot be reached, trying on: {}: {}", type(error).__name__, said)
            health.note("database", f"it cannot be reached: {type(error).__name__}")
            await asyncio.sleep(timings.database_pause_seconds)
    if said is not None:
        logger.info("the database answers")
        health.note("database", None)

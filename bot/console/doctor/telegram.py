"""Checks at Telegram: token, a webhook left over, kinds of updates, clock, balance, server. Imports aiogram."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiogram import Bot
from aiogram.types import WebhookInfo

from bot.calls.network import open_session, proxy_to_telegram
from bot.console.doctor.checks import Check, failure, ok, warning
from bot.console.doctor.prices import look_at_prices
from bot.desk.parts import make_bot
from bot.poll.intake import ALLOWED_UPDATES
from bot.settings import Settings
from bot.settings.proxies import Proxy
from db.clock import Clock
from payments.ledger.fetching import GetRawStarTransactions, TelegramLedger
from payments.ledger.nanostars import stars
from payments.ledger.partners import lacks_transaction_type
from payments.sale.catalog import Catalog
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, TelegramError, fate_of

ANSWER_SECONDS: Final = 10
SKEW_LOW: Final = timedelta(seconds=5)
SKEW_MAX: Final = timedelta(minutes=1)

_NEWEST_UPDATE: Final = "subscription"
_NEWER_SERVER: Final = "bring the Bot API server at TELEGRAM_API_URL up to date, or leave the setting out"

Ask = Callable[[str], bool]
"""A question to the person; True: yes."""


async def look_at_telegram(settings: Settings, clock: Clock, ask: Ask, catalog: Catalog | None) -> AsyncIterator[Check]:
    """Check the bot at Telegram, and the prices of a catalog. It changes nothing unless the person agrees."""
    bot = make_bot(settings)
    try:
        me = await bot.get_me()
        yield ok("token", f"is @{me.username}'s")
        info = await bot.get_webhook_info()
        yield await _look_at_webhook(bot, info, ask)
        yield _look_at_updates(info)
        if settings.sandbox_clock_url is None:
            yield await _look_at_clock(settings, clock)
        async for check in _look_at_stars(bot):
            yield check
        if catalog is not None:
            token = settings.payment_token
            async for check in look_at_prices(bot, catalog, token.get_secret_value() if token is not None else None):
                yield check
    except TELEGRAM_ERRORS as error:
        yield _look_at_trouble(error, settings.telegram_api_url)
    finally:
        await bot.session.close()


def _look_at_trouble(error: TelegramError, address: str) -> Check:
    match fate_of(error):
        case Fate.TOKEN:
            mend = "put the one that @BotFather shows into TELEGRAM_BOT_TOKEN"
            return failure("token", "is not one that Telegram knows", mend)
        case Fate.LOGGED_OUT:
            mend = f"wait some minutes; is {address} the server that the bot has moved to?"
            return failure("telegram", "the bot is logged out there, as after a move between Bot API servers", mend)
    return failure("telegram", f"cannot be asked: {type(error).__name__}", f"can this machine reach {address}?")


async def _look_at_stars(bot: Bot) -> AsyncIterator[Check]:
    """Check the balance and the oldest ledger rows, which show a server that is too old."""
    balance_nanostars = await TelegramLedger(bot).balance_nanostars()
    if balance_nanostars is not None:
        yield ok("balance", f"{stars(balance_nanostars)} Stars")
    if await _lacks_types(bot):
        yield failure("server", "is older than Bot API 9.0: its ledger does not say what a row is", _NEWER_SERVER)
    elif balance_nanostars is None:
        yield failure("server", "is older than Bot API 9.1: it does not tell the bot's balance", _NEWER_SERVER)


async def _lacks_types(bot: Bot) -> bool:
    """Tell whether Telegram's server is too old: a user's ledger row has no `transaction_type`.

    False without a row, or without a readable ledger.
    """
    try:
        answer = await bot(GetRawStarTransactions(offset=0))
    except TELEGRAM_ERRORS:
        # The comparison reports an unreadable ledger.
        return False
    rows = answer.get("transactions")
    return isinstance(rows, list) and any(map(lacks_transaction_type, rows))


async def _look_at_webhook(bot: Bot, info: WebhookInfo, ask: Ask) -> Check:
    if not info.url:
        return ok("webhook", "there is none: updates can be polled")
    words = "one is set, and Telegram gives no update to a poll"
    # Telegram keeps the waiting updates, because payments may be among them.
    if ask(f"{words}. Remove it?"):
        await bot.delete_webhook(drop_pending_updates=False)
        return ok("webhook", "one was set, and is removed")
    return failure("webhook", words, "`doctor --remove-webhook` removes it; nothing that waits is lost")


def _look_at_updates(info: WebhookInfo) -> Check:
    lacking = sorted(set(ALLOWED_UPDATES) - set(info.allowed_updates or ALLOWED_UPDATES))
    if lacking:
        mend = "start the desk: it says at every poll which ones it wants"
        if lacking == [_NEWEST_UPDATE]:
            mend += f"; if this stays, the server is older than Bot API 10.2, which brought it: {_NEWER_SERVER}"
        return warning("updates", f"Telegram was last asked for others, without {', '.join(lacking)}", mend)
    return ok("updates", f"{info.pending_update_count} wait at Telegram")


async def _look_at_clock(settings: Settings, clock: Clock) -> Check:
    proxy = proxy_to_telegram(settings)
    address = settings.telegram_api_url
    try:
        said_at = await (_date_of(address) if proxy is None else _date_of(address, proxy))
    except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
        return warning("clock", f"could not be compared with Telegram's: {type(error).__name__}", "try again")
    # The header has whole seconds.
    off = clock() - said_at
    words = f"{abs(off).total_seconds():.0f} s {'ahead of' if off > timedelta() else 'behind'} Telegram's"
    mend = "let the machine keep its time: timedatectl set-ntp true"
    if abs(off) > SKEW_MAX:
        return failure("clock", words, mend)
    return warning("clock", words, mend) if abs(off) > SKEW_LOW else ok("clock", words)


async def _date_of(address: str, proxy: Proxy | None = None) -> datetime:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with open_session(proxy, timeout=timeout) as session, session.get(address, allow_redirects=False) as answer:
        return parsedate_to_datetime(answer.headers["Date"])

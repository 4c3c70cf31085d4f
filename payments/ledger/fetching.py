"""Fetches Telegram's ledger (raw rows, oldest first, a hundred a call) and the bot's Star balance."""

from typing import Any, Final

import stamina
from aiogram import Bot
from aiogram.exceptions import ClientDecodeError, TelegramNotFound, TelegramRetryAfter
from aiogram.methods import GetMyStarBalance, TelegramMethod

from payments.ledger.nanostars import NANOSTARS
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, fate_of, is_refusal

PAGE_ROWS: Final = 100
"""The most that one getStarTransactions call returns (Bot API)."""
ATTEMPTS_MAX: Final = 5
BACKOFF_SECONDS_FIRST: Final = 1.0
BACKOFF_SECONDS_MAX: Final = 30.0
RETRY_AFTER_SECONDS_MAX: Final = 60
"""A call waits this long at most when Telegram asks for a pause; its caller waits out a longer one."""


class GetRawStarTransactions(TelegramMethod[dict[str, Any]]):
    """getStarTransactions with a raw result, because aiogram refuses a page for one unknown partner type."""

    __returning__ = dict[str, Any]
    __api_method__ = "getStarTransactions"

    offset: int
    limit: int = PAGE_ROWS


_RETRIED_FATES: Final = frozenset({Fate.AWAY, Fate.LOGGED_OUT, Fate.DONE})


def _retry_after_seconds(error: Exception) -> bool | float:
    """Return the seconds to wait before another ledger call; True: stamina's own backoff; False: give up."""
    if isinstance(error, TelegramRetryAfter):
        return error.retry_after <= RETRY_AFTER_SECONDS_MAX and float(error.retry_after)
    # An unreadable answer gets another try, because a gateway may have sent it. An unknown token fails at once, because
    # a person waits for the command.
    return isinstance(error, TELEGRAM_ERRORS) and fate_of(error) in _RETRIED_FATES


_RETRYING: Final = stamina.AsyncRetryingCaller(
    attempts=ATTEMPTS_MAX, timeout=None, wait_initial=BACKOFF_SECONDS_FIRST, wait_max=BACKOFF_SECONDS_MAX
).on(_retry_after_seconds)


class TelegramLedger:
    """The ledger of a bot at Telegram. Each call tries five times, and waits out a pause of up to a minute."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def page(self, offset: int) -> list[Any]:
        """Fetch up to a hundred raw ledger rows after the first `offset`. Raises aiogram's errors."""
        answer = await _RETRYING(self._bot, GetRawStarTransactions(offset=offset))
        rows = answer.get("transactions")
        if not isinstance(rows, list):
            raise ClientDecodeError("no list of transactions", TypeError(type(rows).__name__), answer)
        return rows

    async def balance_nanostars(self) -> int | None:
        """Fetch the bot's Star balance (Bot API 9.1, getMyStarBalance); None: the Bot API server is older.

        Raises aiogram's errors.
        """
        try:
            balance = await _RETRYING(self._bot, GetMyStarBalance())
        except TelegramNotFound as error:
            # A server that lacks the method names it; for an unknown token Telegram answers "Not Found" alone.
            if not is_refusal(error):
                raise
            return None
        return balance.amount * NANOSTARS + (balance.nanostar_amount or 0)

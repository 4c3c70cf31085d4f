"""Asks Telegram for its ledger: raw rows, oldest first, a hundred a call, and the balance."""

from typing import Any, Final

import stamina
from aiogram import Bot
from aiogram.exceptions import ClientDecodeError, TelegramNotFound, TelegramRetryAfter
from aiogram.methods import GetMyStarBalance, TelegramMethod

from payments.ledger.nanostars import NANOSTARS
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, fate_of, is_refusal

PAGE_ROWS: Final = 100
"""The most that getStarTransactions gives (Bot API)."""
ATTEMPTS_MAX: Final = 5
PAUSE_SECONDS_FIRST: Final = 1.0
PAUSE_SECONDS_MAX: Final = 30.0
ASKED_SECONDS_MAX: Final = 60
"""A longer pause that Telegram asks for is left to the caller."""


class GetRawStarTransactions(TelegramMethod[dict[str, Any]]):
    """getStarTransactions whose result is left as it came: aiogram refuses a page for one unknown partner type."""

    __returning__ = dict[str, Any]
    __api_method__ = "getStarTransactions"

    offset: int
    limit: int = PAGE_ROWS


_PASSES: Final = frozenset({Fate.AWAY, Fate.LOGGED_OUT, Fate.DONE})


def _pause(error: Exception) -> bool | float:
    """Say how many seconds to wait before the next try, or whether there is one."""
    if isinstance(error, TelegramRetryAfter):
        return error.retry_after <= ASKED_SECONDS_MAX and float(error.retry_after)
    # An unreadable page may be a gateway's; a token that is not known is said at once, for a command waits.
    return isinstance(error, TELEGRAM_ERRORS) and fate_of(error) in _PASSES


_PATIENT: Final = stamina.AsyncRetryingCaller(
    attempts=ATTEMPTS_MAX, timeout=None, wait_initial=PAUSE_SECONDS_FIRST, wait_max=PAUSE_SECONDS_MAX
).on(_pause)


class TelegramLedger:
    """The ledger of a bot. A call is tried five times; a pause of up to a minute that Telegram asks for is kept."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def page(self, offset: int) -> list[Any]:
        """Return up to a hundred raw rows after the first `offset`. Raises aiogram's errors."""
        answer = await _PATIENT(self._bot, GetRawStarTransactions(offset=offset))
        rows = answer.get("transactions")
        if not isinstance(rows, list):
            raise ClientDecodeError("no list of transactions", TypeError(type(rows).__name__), answer)
        return rows

    async def balance_nanostars(self) -> int | None:
        """Return the bot's balance (Bot API 9.1, getMyStarBalance); None: the server is too old to tell.

        Raises aiogram's errors.
        """
        try:
            balance = await _PATIENT(self._bot, GetMyStarBalance())
        except TelegramNotFound as error:
            # A server that lacks the method says so; one that does not know the token says no more than "Not Found".
            if not is_refusal(error):
                raise
            return None
        return balance.amount * NANOSTARS + (balance.nanostar_amount or 0)

"""The middleware of the bot's calls that keeps the pauses which Telegram asks for (payments/pause.py)."""

import asyncio
from typing import Final

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import TelegramRetryAfter
from aiogram.methods import AnswerPreCheckoutQuery, Response, SetMyCommands, TelegramMethod
from aiogram.methods.base import TelegramType

from bot.poll.intake import GetRawUpdates
from payments.pause import Pause

WAIT_SECONDS_MAX: Final = 5.0
"""An answer in a chat waits out a shorter rest of a pause; the time is shorter than a stop gives the lanes."""

_NEVER_HELD: Final = (AnswerPreCheckoutQuery, GetRawUpdates)
_HOLD_NOBODY: Final = (GetRawUpdates, SetMyCommands)


class PauseKeeper(BaseRequestMiddleware):
    """Holds calls in a pause, and begins one when Telegram asks for it: of the call's chat, if it has one, else of all.

    Telegram counts by chat and in all, and does not say which it was (core.telegram.org/bots/faq).
    A call waits for a pause that is nearly over; else it raises TelegramRetryAfter as if Telegram had asked again.
    A pre-checkout has ten seconds, so it passes at once. The poll and the menus of commands send nothing: a pause for
    them is theirs alone, and the poll keeps no other.
    """

    def __init__(self, pause: Pause) -> None:
        self._pause = pause

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        """Pass a call on when its pause is over; begin the pause that Telegram asks for."""
        if not isinstance(method, _NEVER_HELD):
            await self._wait(method)
        try:
            return await make_request(bot, method)
        except TelegramRetryAfter as error:
            if not isinstance(method, _HOLD_NOBODY):
                self._ask(method, error.retry_after)
            raise

    def _ask(self, method: TelegramMethod[TelegramType], seconds: float) -> None:
        chat_id = _chat_id(method)
        if chat_id is None:
            self._pause.ask(seconds)
        else:
            self._pause.ask_of_chat(chat_id, seconds)

    async def _wait(self, method: TelegramMethod[TelegramType]) -> None:
        left_seconds = self._pause.chat_seconds_left(_chat_id(method))
        if left_seconds > WAIT_SECONDS_MAX:
            raise TelegramRetryAfter(method, "the pause is not over", retry_after=int(left_seconds) + 1)
        if left_seconds > 0:
            await asyncio.sleep(left_seconds)


def _chat_id(method: TelegramMethod[TelegramType]) -> int | str | None:
    chat_id: int | str | None = getattr(method, "chat_id", None)
    return chat_id

"""Calls of the bot that Telegram refuses in a test's words, or that meet a bug of ours."""

from collections.abc import Callable
from typing import Any

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import TelegramBadRequest
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType

Raise = Callable[[TelegramMethod[Any]], Exception | None]
"""Says what a call raises; None: it goes through."""


class _Refusing(BaseRequestMiddleware):
    def __init__(self, says: Raise) -> None:
        self._says = says

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        error = self._says(method)
        if error is not None:
            raise error
        return await make_request(bot, method)


def break_calls(bot: Bot, says: Raise) -> None:
    """Let calls of a bot raise what `says` says, for as long as the bot lives."""
    bot.session.middleware(_Refusing(says))


def refuse(bot: Bot, kind: type[TelegramMethod[Any]], words: str, **having: object) -> None:
    """Let Telegram refuse the calls of a kind, those with these arguments if any are named, in these words."""

    def says(method: TelegramMethod[Any]) -> Exception | None:
        is_meant = isinstance(method, kind) and all(getattr(method, name) == value for name, value in having.items())
        return TelegramBadRequest(method, f"Bad Request: {words}") if is_meant else None

    break_calls(bot, says)

"""The middleware that reads Telegram's time: the `Date` of each answer, and the dates of the updates of a poll."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any, Final

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiohttp import ClientSession, TraceConfig, TraceRequestEndParams, TraceRequestStartParams

from bot.calls.telegram_time import TelegramTime

_POLL: Final = "getUpdates"
_YEAR_MIN: Final = 2025
_YEAR_MAX: Final = 3000
_SECONDS_MAX: Final = 2**34
"""In the year 2514. A number beyond is no date, and neither is one before this program."""


class TimeReader(BaseRequestMiddleware):
    """Reads the dates of the updates of a poll; its `trace` reads the `Date` of each answer."""

    def __init__(self, telegram_time: TelegramTime) -> None:
        self._time = telegram_time
        self.trace = TraceConfig()
        self.trace.on_request_start.append(self._on_start)
        self.trace.on_request_end.append(self._on_end)

    async def __call__(
        self, make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        """Pass a call on, and note the newest date among the updates of a poll."""
        if method.__api_method__ != _POLL:
            return await make_request(bot, method)
        sent = self._time.steady()
        response = await make_request(bot, method)
        said_at = _newest(response)
        if said_at is not None:
            self._time.note_update(sent, self._time.steady(), said_at)
        return response

    async def _on_start(self, _: ClientSession, context: SimpleNamespace, __: TraceRequestStartParams) -> None:
        context.sent = self._time.steady()

    async def _on_end(self, _: ClientSession, context: SimpleNamespace, ended: TraceRequestEndParams) -> None:
        # A gateway's own answer is a page, with the gateway's date.
        if "json" not in ended.response.headers.get("Content-Type", ""):
            return
        try:
            said_at = parsedate_to_datetime(ended.response.headers["Date"])
            # A date without a zone means UTC here.
            said_at = said_at.replace(tzinfo=said_at.tzinfo or UTC).astimezone(UTC)
        except (KeyError, ValueError, OverflowError):
            return
        if _YEAR_MIN <= said_at.year < _YEAR_MAX:
            self._time.note_answer(context.sent, self._time.steady(), said_at)


def _newest(updates: Any) -> datetime | None:
    """Return the date of the newest message among raw updates, or None."""
    dates = []
    for update in updates if isinstance(updates, list) else ():
        message = update.get("message") if isinstance(update, dict) else None
        date = message.get("date") if isinstance(message, dict) else None
        if isinstance(date, int) and 0 < date < _SECONDS_MAX:
            dates.append(date)
    return datetime.fromtimestamp(max(dates), UTC) if dates else None

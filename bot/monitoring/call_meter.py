"""The middleware that counts and times calls to Telegram, and knows whether Telegram answers and the poll goes on."""

import time
from typing import Any, Final

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from prometheus_client import Counter, Gauge, Histogram

from bot.poll.rhythm import CUTS_MAX, was_cut_while_idle
from payments.loop import Pulse
from payments.telegram_errors import TELEGRAM_ERRORS, names_webhook

CALLS: Final = Counter("starledger_telegram_calls", "Calls to Telegram, by how they ended.", ["method", "outcome"])
CALL_SECONDS: Final = Histogram(
    "starledger_telegram_call_seconds",
    "Time that a call to Telegram took, the long poll left out.",
    ["method"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30),
)
RETRY_AFTER_SECONDS: Final = Counter(
    "starledger_telegram_retry_after_seconds", "Seconds for which Telegram asked to be left alone (429)."
)

CLOCK_OFFSET_SECONDS: Final = Gauge(
    "starledger_clock_offset_seconds", "How far this machine's clock is ahead of Telegram's."
)
ANSWERS_SAID_AGAIN: Final = Counter(
    "starledger_answers_said_again",
    "Tries to say again what a person waits for (bot/calls/retry_calls.py).",
    ["method"],
)
ANSWERS_LOST: Final = Counter(
    "starledger_answers_lost", "What a person waited for, and Telegram did not take in time.", ["method"]
)

_POLL: Final = "getUpdates"
_ASKS_WHETHER_TELEGRAM_IS_THERE: Final = frozenset({_POLL, "getMe"})
"""The calls whose failure tells of Telegram itself, and not of the request."""
_OUTCOMES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TelegramRetryAfter, "retry_after"),
    (TelegramNetworkError, "network"),
    (TelegramServerError, "server"),
    (TelegramConflictError, "conflict"),
    (TelegramUnauthorizedError, "unauthorized"),
    (TelegramForbiddenError, "forbidden"),
    (TelegramNotFound, "not_found"),
    (TelegramBadRequest, "bad_request"),
    (ClientDecodeError, "unreadable"),
)
_TROUBLES: Final = {
    "conflict": "another program polls with the same token",
    "retry_after": "Telegram asks to be left alone for a while",
    "server": "Telegram answers with errors of its own",
    "unauthorized": "Telegram refuses the token: was it revoked?",
    "unreadable": "something else answers in Telegram's place: is a proxy in between?",
}
_WEBHOOK: Final = "a webhook is set, and no poll gets anything: doctor --remove-webhook removes it"
_SILENT_SECONDS: Final = 120
"""The longest time between two beats of the poll: a long poll, or the longest pause and a batch to record."""


class CallMeter(BaseRequestMiddleware):
    """The middleware of all calls. `trouble` says why the desk cannot poll Telegram, `pulse` is the poll loop's."""

    def __init__(self) -> None:
        self.pulse = Pulse()
        self.trouble: str | None = None
        self._cuts = 0
        self.polled_at: float | None = None
        """The time of Telegram's last answer to a poll, by time.monotonic."""

    async def __call__(
        self, make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        """Pass a call on, and note its outcome."""
        name = method.__api_method__
        if name == _POLL:
            self.pulse.beat(_SILENT_SECONDS)
        began = time.monotonic()
        try:
            response = await make_request(bot, method)
        except Exception as error:
            if name == _POLL and isinstance(error, TELEGRAM_ERRORS):
                asked_seconds = int(getattr(method, "timeout", 0) or 0)
                if self._cuts < CUTS_MAX and was_cut_while_idle(error, time.monotonic() - began, asked_seconds):
                    self._cuts += 1
                    CALLS.labels(name, "idle").inc()
                    raise
            self._note(name, _outcome(error), error)
            raise
        self._note(name, "ok", None)
        if name != _POLL:
            CALL_SECONDS.labels(name).observe(time.monotonic() - began)
        return response

    def _note(self, name: str, outcome: str, error: Exception | None) -> None:
        CALLS.labels(name, outcome).inc()
        pause_seconds = error.retry_after if isinstance(error, TelegramRetryAfter) else 0
        RETRY_AFTER_SECONDS.inc(pause_seconds)
        if name == _POLL:
            self.pulse.beat(_SILENT_SECONDS + pause_seconds)
            if error is None:
                self._cuts = 0
                self.polled_at = time.monotonic()
        if name in _ASKS_WHETHER_TELEGRAM_IS_THERE:
            self.trouble = None if error is None else _trouble(error, outcome)


def _trouble(error: Exception, outcome: str) -> str:
    if isinstance(error, TelegramConflictError) and names_webhook(error.message):
        return _WEBHOOK
    return _TROUBLES.get(outcome, f"Telegram cannot be reached: {type(error).__name__}")


def _outcome(error: Any) -> str:
    return next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "other")

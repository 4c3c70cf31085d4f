"""Retries of calls to Telegram while a person waits for the answer.

After a cut connection, a 5xx, a gateway's page or a pause of a second or two, Telegram did not take the call, or nobody
knows. The desk repeats the same call, so a person never hears two different things. If Telegram took the call and only
its answer was lost, Telegram takes it twice: an invoice, a message or a picture may stand in the chat two times, which
costs nobody money; for an edit, or the answer to a button or a pre-checkout, Telegram's second answer tells that the
first call was done.

The middleware retries no calls that move money (refundStarPayment, editUserStarSubscription), because they are on
record and have retries of their own, as the outbox has.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, cast

import stamina
from aiogram import Bot
from aiogram.client.session.base import BaseSession
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import ClientDecodeError, TelegramBadRequest, TelegramNetworkError, TelegramRetryAfter
from aiogram.methods import AnswerCallbackQuery, Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.types import TelegramObject
from loguru import logger

from bot.monitoring.call_meter import ANSWERS_LOST, ANSWERS_SAID_AGAIN
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, fate_of, in_words, is_outage

PAUSE_SECONDS_FIRST: Final = 0.1
PAUSE_SECONDS_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a call's retries, from the moment when the person began to wait."""

    seconds: float
    """After so many seconds no retry begins."""
    attempts: int
    call_seconds: float | None
    """The longest time of one try; None: the time of the session."""


PRE_CHECKOUT: Final = Bounds(seconds=9.0, attempts=15, call_seconds=2.5)
"""Telegram waits ten seconds (Bot API, answerPreCheckoutQuery)."""
ANSWER: Final = Bounds(seconds=5.0, attempts=6, call_seconds=5.0)
UPLOAD: Final = Bounds(seconds=5.0, attempts=3, call_seconds=None)

SAID_AGAIN: Final = {
    "answerPreCheckoutQuery": PRE_CHECKOUT,
    "answerCallbackQuery": ANSWER,
    "createInvoiceLink": ANSWER,
    "editMessageCaption": ANSWER,
    "editMessageMedia": UPLOAD,
    "editMessageReplyMarkup": ANSWER,
    "editMessageText": ANSWER,
    "getChat": ANSWER,
    "getMe": ANSWER,
    "sendDocument": UPLOAD,
    "sendInvoice": ANSWER,
    "sendMessage": ANSWER,
    "sendPhoto": UPLOAD,
}
"""The retried calls, by their names in the Bot API; every other one is made once."""

_ASKED: Final = frozenset({"createInvoiceLink", "getChat", "getMe"})
"""Calls that only ask: without a readable answer nothing was done."""

_DONE_BEFORE: Final = ("query is too old", "message is not modified")
"""Telegram's words for a retried call that it had done the first time, or whose time is over."""

_TRUE: Final = True
"""The result of these methods (Bot API)."""

_waiting_since: ContextVar[float | None] = ContextVar("waiting_since", default=None)


@contextmanager
def somebody_waits(seconds_gone: float = 0.0) -> Iterator[None]:
    """Retry the calls within the block for a person who has waited for `seconds_gone` already."""
    token = _waiting_since.set(asyncio.get_running_loop().time() - seconds_gone)
    try:
        yield
    finally:
        _waiting_since.reset(token)


class CallRetries(BaseRequestMiddleware):
    """Retries calls, as the outermost middleware of a session: the others hold, count and time each try."""

    def __init__(self, said_again: Mapping[str, Bounds] = SAID_AGAIN) -> None:
        """Make the middleware; `said_again` bounds the retried calls, by their names in the Bot API."""
        self._said_again = said_again

    async def __call__(
        self, make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        """Make a call, and retry it while a person waits. Raises what the last try raised."""
        name = method.__api_method__
        since, bounds = _waiting_since.get(), self._said_again.get(name)
        if since is None or bounds is None:
            return await make_request(bot, method)
        try:
            async for attempt in _tries(bounds, since):
                with attempt:
                    if attempt.num > 1:
                        ANSWERS_SAID_AGAIN.labels(name).inc()
                    return await _try(make_request, bot, method, bounds, is_repeat=attempt.num > 1)
        except TELEGRAM_ERRORS as error:
            if not is_outage(error) and not isinstance(error, TelegramRetryAfter):
                raise
            ANSWERS_LOST.labels(name).inc()
            if not isinstance(method, AnswerCallbackQuery) or method.text:
                raise
            # The button did its work, so its endless turning must not look like a failure.
            logger.warning("the press of a button was not answered: {}", in_words(error))
            return cast("Response[TelegramType]", _TRUE)
        raise AssertionError("a try returns or raises")


def _tries(bounds: Bounds, since: float) -> AsyncIterator[stamina.Attempt]:
    """Return the tries of one call, with pauses between them."""
    now = asyncio.get_running_loop().time

    def pause(error: Exception) -> bool | float:
        left_seconds = since + bounds.seconds - now()
        if isinstance(error, TelegramRetryAfter):
            return error.retry_after < left_seconds and float(error.retry_after)
        return isinstance(error, TELEGRAM_ERRORS) and is_outage(error) and left_seconds > 0

    return aiter(
        stamina.retry_context(
            pause,
            attempts=bounds.attempts,
            timeout=None,
            wait_initial=PAUSE_SECONDS_FIRST,
            wait_max=PAUSE_SECONDS_MAX,
            wait_jitter=PAUSE_SECONDS_FIRST,
        )
    )


async def _try(
    make_request: NextRequestMiddlewareType[TelegramType],
    bot: Bot,
    method: TelegramMethod[TelegramType],
    bounds: Bounds,
    *,
    is_repeat: bool,
) -> Response[TelegramType]:
    try:
        async with asyncio.timeout(bounds.call_seconds):
            return await make_request(bot, method)
    except TimeoutError as error:
        words = f"no answer within {bounds.call_seconds} s"
        raise TelegramNetworkError(method=method, message=words) from error
    except ClientDecodeError as error:
        if fate_of(error) is not Fate.DONE:
            raise
        if method.__api_method__ in _ASKED:
            raise TelegramNetworkError(method=method, message=in_words(error)) from error
        if method.__api_method__.startswith("send"):
            raise
        return cast("Response[TelegramType]", _TRUE)
    except TelegramBadRequest as error:
        if is_repeat and any(words in error.message for words in _DONE_BEFORE):
            return cast("Response[TelegramType]", _TRUE)
        raise


async def retry_for_sender(
    handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
) -> Any:
    """Retry calls for the sender of an update, who waits from here on: a middleware of the dispatcher."""
    bot: Bot = data["bot"]
    _stand_first(bot.session)
    with somebody_waits():
        return await handler(event, data)


def _stand_first(session: BaseSession) -> None:
    """Put CallRetries around all other middlewares of a session, unless the session has one."""
    others = list(session.middleware)
    if not any(isinstance(each, CallRetries) for each in others):
        for each in others:
            session.middleware.unregister(each)
        for each in (CallRetries(), *others):
            session.middleware.register(each)

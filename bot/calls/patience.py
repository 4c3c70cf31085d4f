"""Repeats an answer that Telegram did not take, while a person waits for it.

A cut connection, a 5xx, a gateway's page, a pause of a second or two: the answer was not taken, or nobody knows. It is
the same call that is repeated, so nobody is ever told two different things. A call that was done, and whose answer was
lost, is done twice: an invoice, a message or a picture may then stand in the chat two times, which costs nobody money;
an edit, or the answer to a button or to a pre-checkout, is known to be done by what Telegram says the second time.

Not said again is what moves money (refundStarPayment, editUserStarSubscription): that stands on record and has tries
of its own, as has what the outbox sends.
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
    """How long, and how often, a call is made: from the moment when the person began to wait."""

    seconds: float
    """After so many no further try begins."""
    attempts: int
    call_seconds: float | None
    """How long one try may take; None: what the session allows."""


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
"""The calls that may be repeated, by their names in the Bot API; every other one is made once."""

_ASKED: Final = frozenset({"createInvoiceLink", "getChat", "getMe"})
"""Of these the answer is all that they do: one that cannot be read is none."""

_DONE_BEFORE: Final = ("query is too old", "message is not modified")
"""What Telegram says of a repeated call that it did the first time; and the time for the answer is over."""

_TRUE: Final = True
"""What all of these methods return, or may (Bot API)."""

_waiting_since: ContextVar[float | None] = ContextVar("waiting_since", default=None)


@contextmanager
def somebody_waits(seconds_gone: float = 0.0) -> Iterator[None]:
    """Have calls within the block said again to a person who has waited for `seconds_gone` already."""
    token = _waiting_since.set(asyncio.get_running_loop().time() - seconds_gone)
    try:
        yield
    finally:
        _waiting_since.reset(token)


class Patience(BaseRequestMiddleware):
    """The middleware of the session's calls, around all others: each try is held, counted and timed by those."""

    def __init__(self, said_again: Mapping[str, Bounds] = SAID_AGAIN) -> None:
        """Prepare; `said_again` bounds the calls that may be repeated, by their names in the Bot API."""
        self._said_again = said_again

    async def __call__(
        self, make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        """Make a call, and make it again while a person waits for it. Raises what the last try raised."""
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
            # A button that goes on turning is no reason to say that what it did has failed.
            logger.warning("the press of a button was not answered: {}", in_words(error))
            return cast("Response[TelegramType]", _TRUE)
        raise AssertionError("a try returns or raises")


def _tries(bounds: Bounds, since: float) -> AsyncIterator[stamina.Attempt]:
    """Return the tries of one call, with the pauses between them."""
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


async def be_patient(
    handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
) -> Any:
    """Be the dispatcher's middleware: from here on the sender of the update waits."""
    bot: Bot = data["bot"]
    _stand_first(bot.session)
    with somebody_waits():
        return await handler(event, data)


def _stand_first(session: BaseSession) -> None:
    """Put a Patience around all other middlewares of a session, unless it has one."""
    others = list(session.middleware)
    if not any(isinstance(each, Patience) for each in others):
        for each in others:
            session.middleware.unregister(each)
        for each in (Patience(), *others):
            session.middleware.register(each)

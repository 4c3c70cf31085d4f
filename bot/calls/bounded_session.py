"""aiogram's session with a bound on each answer, a time-out for the connection, and no redirects.

A gateway between the desk and Telegram may answer anything: a page without an end, a few kilobytes that unpack to
gigabytes, a redirect. aiohttp follows a redirect and makes a GET of the POST, and its body is lost on the way.
"""

from functools import cache
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import urlsplit

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramAPIError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiohttp import ClientError, ClientResponse, ClientTimeout

CONNECT_SECONDS: Final = 5.0
"""After so long without a connection a call is tried anew, because a whole call has more time than a buyer."""
ANSWER_BYTES_MAX: Final = 4 * 2**20
"""A page of a hundred ledger rows, the longest answer by far, has a tenth of these bytes."""
UPDATES_BYTES_MAX: Final = 32 * 2**20
"""The answer to a poll: a hundred updates, of which the longest known has some hundred kilobytes."""
PAUSE_SECONDS_MIN: Final = 1
"""A pause of zero or less would let a loop run without a pause."""
PAUSE_SECONDS_MAX: Final = 7 * 86_400
"""Telegram asks again for the rest of a longer pause."""
HEAD_BYTES: Final = 4_096
"""So much of a too large answer is kept, to name its update."""

_CHUNK_BYTES: Final = 2**16


class AnswerTooLargeError(ValueError):
    """An answer has more unpacked bytes than any of Telegram's."""


class BoundedSession(AiohttpSession):
    """aiogram's session with a bound on each answer and on the time to connect, and without redirects."""

    updates_bytes_max = UPDATES_BYTES_MAX
    """The bound on the answer to a poll."""

    async def make_request(
        self,
        bot: Bot,
        method: TelegramMethod[TelegramType],
        timeout: int | None = None,  # noqa: ASYNC109 - aiogram's signature
    ) -> TelegramType:
        """Make one call to Telegram. Raises aiogram's errors.

        A too large answer raises a ClientDecodeError with the beginning of the answer as `data`; a redirect raises a
        TelegramNetworkError.
        """
        session = await self.create_session()
        url = self.api.api_url(token=bot.token, method=method.__api_method__)
        form = self.build_form_data(bot=bot, method=method)
        seconds = self.timeout if timeout is None else timeout
        try:
            async with session.post(
                url,
                data=form,
                timeout=ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS),
                allow_redirects=False,
            ) as response:
                _refuse_redirect(method, response)
                content = await _read(response, self._bytes_max(method))
        except TimeoutError as error:
            raise TelegramNetworkError(method=method, message="Request timeout error") from error
        except ClientError as error:
            raise TelegramNetworkError(method=method, message=f"{type(error).__name__}: {error}") from error
        checked = self.check_response(bot=bot, method=method, status_code=response.status, content=content)
        return cast("TelegramType", checked.result)

    def _bytes_max(self, method: TelegramMethod[TelegramType]) -> int:
        return self.updates_bytes_max if method.__api_method__ == "getUpdates" else ANSWER_BYTES_MAX

    def check_response(
        self, bot: Bot, method: TelegramMethod[TelegramType], status_code: int, content: str
    ) -> Response[TelegramType]:
        """Read Telegram's answer. Raises aiogram's errors, with words and a bounded pause.

        A pause lasts a second to a week. Success without a result raises a ClientDecodeError, because every method
        returns something. An error without a description raises a TelegramServerError: Telegram describes each (Bot
        API, Making requests), a gateway may not.
        """
        no_words = f"{status_code}, and no word of Telegram's"
        _hold_model(method.__returning__)
        try:
            checked = super().check_response(bot, method, status_code, content)
        except TelegramRetryAfter as error:
            error.retry_after = min(max(error.retry_after, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
            raise
        except TelegramAPIError as error:
            if getattr(error, "message", None) is None:
                raise TelegramServerError(method, no_words) from None
            raise
        except TypeError as error:
            # aiogram looks for a word in the description of a 5xx.
            raise TelegramServerError(method, no_words) from error
        if checked.result is None:
            raise ClientDecodeError("No result", ValueError("null"), {"ok": True})
        return checked


@cache
def _hold_model(returning: Any) -> type[Response[Any]]:
    """Return aiogram's model of the answers that hold a result of one type, the same for the life of the process.

    The cache keeps the model, because pydantic holds a parametrized class by a weak reference (`_GENERIC_TYPES_CACHE`
    in pydantic/_internal/_generics.py): the garbage collector takes it after the answer, and the next call makes it
    anew, which takes one to two milliseconds. The methods of the Bot API bound the cache.
    """
    return Response[returning]


async def _read(response: ClientResponse, bytes_max: int) -> str:
    """Read an answer's text up to the bound, piece by piece, as aiohttp unpacks a compressed one."""
    pieces = bytearray()
    async for piece in response.content.iter_chunked(_CHUNK_BYTES):
        pieces += piece
        if len(pieces) > bytes_max:
            # The connection is useless now, because the rest of the answer is still on it.
            response.close()
            head = pieces[:HEAD_BYTES].decode(errors="replace")
            raise ClientDecodeError("Too large", AnswerTooLargeError(f"more than {bytes_max} bytes"), head)
    return pieces.decode(errors="replace")


def _refuse_redirect(method: TelegramMethod[TelegramType], response: ClientResponse) -> None:
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        # The path of the address holds the token.
        place = _host(response.headers.get("Location", "")) or "another path"
        words = f"a redirect ({response.status}) to {place} is not followed: is TELEGRAM_API_URL right?"
        raise TelegramNetworkError(method=method, message=words)


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None

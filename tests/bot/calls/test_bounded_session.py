"""Bounded answers of Telegram, packed or not, each from the address that was asked."""

import gc
import gzip
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest
from aiogram import Bot
from aiogram.exceptions import ClientDecodeError, TelegramNetworkError
from aiogram.methods import TelegramMethod
from aiohttp import web

from bot.calls.bounded_session import ANSWER_BYTES_MAX, UPDATES_BYTES_MAX, AnswerTooLargeError, BoundedSession
from bot.poll.intake import GetRawUpdates
from tests.support.bots import talking_bot
from tests.support.money import TOKEN

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEAD: Final = b'{"ok":true,"result":[{"update_id":7,"message":{"text":"'
TAIL: Final = b'"}}]}'


@asynccontextmanager
async def _served_by(handler: Handler) -> AsyncIterator[Bot]:
    """Run a server that answers every call so beside the block, and a bot that calls it."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with talking_bot(f"http://127.0.0.1:{runner.addresses[0][1]}", TOKEN) as bot:
            yield bot
    finally:
        await runner.cleanup()


async def test_an_answer_that_unpacks_to_more_than_the_bound_is_refused_with_its_beginning() -> None:
    bomb = gzip.compress(HEAD + b"x" * 2 * UPDATES_BYTES_MAX + TAIL, compresslevel=1)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    async with _served_by(answer) as bot:
        with pytest.raises(ClientDecodeError) as raised:
            await bot(GetRawUpdates(timeout=0))
    assert isinstance(raised.value.original, AnswerTooLargeError)
    assert raised.value.data.startswith(HEAD.decode())
    assert len(raised.value.data) < UPDATES_BYTES_MAX / 1000


async def test_an_answer_without_an_end_is_refused_at_the_bound() -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 2**16)
            sent += 2**16

    async with _served_by(answer) as bot:
        with pytest.raises(ClientDecodeError):
            await bot.get_me()
    assert ANSWER_BYTES_MAX < sent < 10 * ANSWER_BYTES_MAX


async def test_a_batch_of_updates_may_be_larger_than_any_other_answer() -> None:
    body = HEAD + b"x" * ANSWER_BYTES_MAX + TAIL

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async with _served_by(answer) as bot:
        [update] = await bot(GetRawUpdates(timeout=0))
        assert update["update_id"] == 7
        with pytest.raises(ClientDecodeError):
            await bot.get_me()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("https://elsewhere.example/bot{token}/getMe", "elsewhere.example"),
        ("/bot{token}/getMe/", "another path"),
        ("https://[", "another path"),
    ],
)
async def test_a_redirect_is_refused_in_words_without_the_token(status: int, place: str, words: str) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.Response(status=status, headers={"Location": place.format(token=TOKEN)})

    async with _served_by(answer) as bot:
        with pytest.raises(TelegramNetworkError, match="is not followed") as raised:
            await bot.get_me()
    assert asked == ["POST"]
    assert words in raised.value.message
    assert TOKEN not in str(raised.value)


class _CountStars(TelegramMethod[dict[str, int]]):
    """A method whose type of result is that of no other, so that nothing else holds the model of its answers."""

    __returning__ = dict[str, int]
    __api_method__ = "countStars"


async def test_the_model_of_an_answer_outlives_the_garbage_collector() -> None:
    def model_of_an_answer() -> weakref.ref[type[object]]:
        answer = BoundedSession().check_response(Bot(TOKEN), _CountStars(), 200, '{"ok":true,"result":{"stars":5}}')
        return weakref.ref(type(answer))

    first = model_of_an_answer()
    gc.collect()
    assert first() is not None
    assert model_of_an_answer()() is first()

"""Odd answers of a gateway in Telegram's place: an error without words, a pause of no time, and more."""

import json
from typing import Any, Final

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramEntityTooLarge, TelegramNetworkError, TelegramRetryAfter
from aiogram.methods import SendMessage
from hypothesis import given
from hypothesis import strategies as st

from bot.calls.bounded_session import PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN, BoundedSession
from bot.desk.parts import make_bot
from bot.monitoring.call_meter import CallMeter
from bot.settings import Settings
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, TelegramError, fate_of, in_words, is_outage
from sandbox.server import running_sandbox
from tests.cases.telegram.front import error, fronting
from tests.support.bots import talking_bot
from tests.support.money import TOKEN

CALL: Final = SendMessage(chat_id=1, text="x")
STATUSES: Final = [200, 202, 302, 400, 401, 403, 404, 409, 413, 418, 429, 500, 502, 503, 504]
ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ODD: Final = st.fixed_dictionaries(
    {"ok": st.booleans()},
    optional={
        "result": ANYTHING,
        "error_code": ANYTHING,
        "description": ANYTHING,
        "parameters": ANYTHING
        | st.fixed_dictionaries({}, optional={"retry_after": ANYTHING, "migrate_to_chat_id": ANYTHING}),
    },
)


@given(status=st.sampled_from(STATUSES), said=ODD | ANYTHING)
def test_any_answer_raises_an_error_with_a_fate_and_words_or_none(status: int, said: Any) -> None:
    raised: TelegramError | None = None
    try:
        BoundedSession().check_response(Bot(TOKEN), CALL, status, json.dumps(said))
    except TELEGRAM_ERRORS as error:
        raised = error
    if raised is not None:
        assert fate_of(raised) in Fate
        assert in_words(raised)
        assert str(raised)
        assert isinstance(raised.message, str)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 500, 502, 503])
@pytest.mark.parametrize("more", [{}, {"description": None}])
async def test_an_error_without_words_says_nothing_of_its_call(status: int, more: dict[str, str | None]) -> None:
    async with running_sandbox() as server, fronting(server.url) as front, talking_bot(front.url, server.token) as bot:
        front.rules["sendmessage"] = lambda *_: (status, {"ok": False, **more})
        with pytest.raises(TELEGRAM_ERRORS) as raised:
            await bot(CALL)
    assert isinstance(raised.value, TelegramError)
    assert is_outage(raised.value)


@pytest.mark.parametrize(
    ("told", "taken"),
    [(-1, PAUSE_SECONDS_MIN), (-(10**30), PAUSE_SECONDS_MIN), (1, 1), (60, 60), (10**400, PAUSE_SECONDS_MAX)],
    ids=["less than none", "far less", "a second", "a minute", "for ever"],
)
async def test_a_pause_has_a_least_and_a_most(told: int, taken: int) -> None:
    async with running_sandbox() as server, fronting(server.url) as front, talking_bot(front.url, server.token) as bot:
        bot.session.middleware(CallMeter())
        front.rules["getme"] = lambda *_: error(429, "Too Many Requests", retry_after=told)
        with pytest.raises(TelegramRetryAfter) as raised:
            await bot.get_me()
    assert raised.value.retry_after == taken


async def test_too_large_request_is_a_refusal_behind_a_proxy() -> None:
    async with running_sandbox() as server, fronting(server.url) as front:
        front.rules["sendmessage"] = lambda *_: error(413, f"Request Entity Too Large {server.token}")
        bot = make_bot(Settings(_env_file=None, telegram_bot_token=server.token, telegram_api_url=front.url))
        try:
            with pytest.raises(TelegramNetworkError) as raised:
                await bot(CALL)
        finally:
            await bot.session.close()
    assert isinstance(raised.value, TelegramEntityTooLarge)
    assert not is_outage(raised.value)
    assert server.token not in str(raised.value)


@pytest.mark.parametrize("result", [None, {}, 5, [], "x", True])
async def test_a_bot_of_no_name_is_asked_for_again(result: object) -> None:
    async with running_sandbox() as server, fronting(server.url) as front, talking_bot(front.url, server.token) as bot:
        front.rules["getme"] = lambda *_: (200, {"ok": True, "result": result})
        with pytest.raises(TELEGRAM_ERRORS):
            await bot.get_me()

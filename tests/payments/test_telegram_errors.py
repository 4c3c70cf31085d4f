"""The meaning of an error of a call, by code and words, from Telegram or a gateway."""

import json
from typing import Any, Final, cast

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.exceptions import ClientDecodeError, TelegramAPIError, TelegramNetworkError
from aiogram.methods import SendMessage
from hypothesis import given
from hypothesis import strategies as st

from payments.telegram_errors import Fate, fate_of, in_words, is_outage, is_refusal
from tests.support.money import TOKEN

CALL: Final = SendMessage(chat_id=1, text="x")
WEBHOOK: Final = (
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)
TOLD: Final = [
    (400, "Logged out", Fate.LOGGED_OUT),
    (400, "Bad Request: logged out", Fate.LOGGED_OUT),
    (400, "Bad Request: AUTH_KEY_DUPLICATED", Fate.LOGGED_OUT),
    (400, "Bad Request: SESSION_REVOKED", Fate.LOGGED_OUT),
    (401, "Unauthorized", Fate.TOKEN),
    (401, "Unauthorized: invalid token specified", Fate.TOKEN),
    (404, "Not Found", Fate.TOKEN),
    (404, "Not Found: method not found", Fate.REFUSED),
    (400, "Bad Request: chat not found", Fate.REFUSED),
    (400, "Bad Request: CHARGE_ALREADY_REFUNDED", Fate.REFUSED),
    (400, "Bad Request: can't parse entities: the bot was logged out", Fate.REFUSED),
    (400, "", Fate.REFUSED),
    (403, "Forbidden: bot was blocked by the user", Fate.REFUSED),
    (413, "Request Entity Too Large", Fate.REFUSED),
    (409, WEBHOOK, Fate.WEBHOOK),
    (409, "Conflict: terminated by other getUpdates request", Fate.CONFLICT),
    (500, "Internal Server Error: restart", Fate.AWAY),
    (502, "Bad Gateway", Fate.AWAY),
    (504, "Gateway Timeout", Fate.AWAY),
    (420, "Enhance Your Calm", Fate.AWAY),
    (429, "Too Many Requests", Fate.AWAY),
]


def raised_by(status: int, body: object, *, is_text: bool = False) -> TelegramAPIError | ClientDecodeError:
    """Return what aiogram raises for an answer."""
    content = cast("str", body) if is_text else json.dumps(body)
    session = AiohttpSession()
    with pytest.raises((TelegramAPIError, ClientDecodeError)) as raised:
        session.check_response(bot=Bot(TOKEN, session=session), method=CALL, status_code=status, content=content)
    error = raised.value
    assert isinstance(error, TelegramAPIError | ClientDecodeError)
    return error


def _told(status: int, words: str, **parameters: int) -> TelegramAPIError | ClientDecodeError:
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": words}
    return raised_by(status, body | ({"parameters": parameters} if parameters else {}))


@pytest.mark.parametrize(("status", "words", "fate"), TOLD)
def test_fate_of_an_error_is_known_by_code_and_words(status: int, words: str, fate: Fate) -> None:
    error = _told(status, words)
    assert fate_of(error) is fate
    assert is_refusal(error) is (fate is Fate.REFUSED)
    assert is_outage(error) is (fate is not Fate.REFUSED)


def test_a_pause_and_a_move_are_neither_refusals_nor_outages() -> None:
    pause, move = _told(429, "Too Many Requests", retry_after=5), _told(400, "x", migrate_to_chat_id=-1001)
    assert [fate_of(each) for each in (pause, move)] == [Fate.PAUSE, Fate.MOVED]
    assert not any(is_refusal(each) or is_outage(each) for each in (pause, move))


@pytest.mark.parametrize("body", ["<html>", "", "[" * 5_000])
def test_a_page_in_telegrams_place_is_an_outage(body: str) -> None:
    error = raised_by(200, body, is_text=True)
    assert is_outage(error)
    assert "<html>" not in in_words(error)


def test_unreadable_success_of_telegram_counts_as_done() -> None:
    error = raised_by(200, {"ok": True, "result": {"odd": 1}})
    assert fate_of(error) is Fate.DONE
    assert not is_outage(error)


def test_a_connection_that_breaks_is_an_outage() -> None:
    assert is_outage(TelegramNetworkError(CALL, "ServerDisconnectedError: Server disconnected"))


@given(status=st.integers(300, 999), words=st.text())
def test_any_code_and_any_words_have_a_fate(status: int, words: str) -> None:
    error = _told(status, words)
    assert fate_of(error) in Fate
    assert is_refusal(error) + is_outage(error) == 1
    assert in_words(error)
    if status >= 500:
        assert fate_of(error) is Fate.AWAY


@given(words=st.text(alphabet=st.characters(codec="ascii")))
def test_a_400_that_nobody_knows_is_a_refusal(words: str) -> None:
    assert is_refusal(_told(400, f"Bad Request: x{words}"))


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(status=st.integers(400, 599), body=_JSON | st.dictionaries(st.sampled_from(["ok", "description"]), _JSON))
def test_any_json_has_a_fate(status: int, body: object) -> None:
    error = raised_by(status, body)
    assert fate_of(error) in Fate
    assert in_words(error)

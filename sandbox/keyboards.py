"""Inline keyboards (reply_markup) of a call: the sandbox reads and checks them as Client.cpp and Telegram do."""

import re
from typing import Any

from sandbox.args import Args
from sandbox.errors import ApiError, bad_request
from sandbox.shapes import Json

CALLBACK_DATA_BYTES_MAX = 64
_URL = re.compile(r"(?:(?:https?|tg)://)?[^\s/.]+(?:\.[^\s/.]+)*(?:[/?#]\S*)?", re.IGNORECASE)
_OTHER_KINDS = (
    "callback_game",
    "pay",
    "switch_inline_query",
    "switch_inline_query_chosen_chat",
    "switch_inline_query_current_chat",
    "login_url",
    "web_app",
    "copy_text",
)


def read_inline_keyboard(args: Args) -> Json | None:
    """Return the InlineKeyboardMarkup of a call, None when there is none or it is another kind of keyboard.

    Raises ApiError: markup that does not parse, a button without a kind, callback_data over 64 bytes.
    """
    markup = args.json("reply_markup", "Can't parse reply keyboard markup JSON object")
    if markup is None:
        return None
    if not isinstance(markup, dict):
        raise bad_request("Object expected as reply markup")
    rows = markup.get("inline_keyboard")
    if rows is None:
        return None
    if not isinstance(rows, list):
        raise bad_request('Field "inline_keyboard" must be of type Array')
    keyboard = [row for row in map(_read_row, rows) if row]
    return {"inline_keyboard": keyboard} if keyboard else None


def _read_row(row: Any) -> list[Json]:
    if not isinstance(row, list):
        raise bad_request('Field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays')
    return [_read_button(button) for button in row]


def _read_button(button: Any) -> Json:
    if not isinstance(button, dict):
        raise _button_refusal("InlineKeyboardButton must be an Object")
    text, url, data = (_text_field(button, name) for name in ("text", "url", "callback_data"))
    if text is None:
        raise _button_refusal('Can\'t find field "text"')
    if not text.strip():
        raise bad_request("Inline keyboard button text must be non-empty")
    if url:
        if not _URL.fullmatch(url):
            raise bad_request(f"Inline keyboard button URL '{url}' is invalid: wrong HTTP URL")
    elif data:
        if len(data.encode(errors="surrogatepass")) > CALLBACK_DATA_BYTES_MAX:
            raise bad_request("BUTTON_DATA_INVALID")
    elif not any(kind in button for kind in _OTHER_KINDS):
        raise _button_refusal("Text buttons are unallowed in the inline keyboard")
    return {name: value for name, value in button.items() if value is not None}


def _text_field(button: Json, name: str) -> str | None:
    value = button.get(name)
    if value is not None and not isinstance(value, str):
        raise _button_refusal(f'Field "{name}" must be of type String')
    return value


def check_pay_button(markup: Json | None, *, invoice: bool) -> None:
    """Raise ApiError for a Pay button anywhere but first in an invoice; the text for each case is a guess."""
    buttons = [button for row in (markup or {}).get("inline_keyboard", []) for button in row]
    if invoice and buttons and not buttons[0].get("pay"):
        raise bad_request("REPLY_MARKUP_BUY_EMPTY")
    if any(button.get("pay") for button in (buttons[1:] if invoice else buttons)):
        raise bad_request("BUTTON_TYPE_INVALID")


def _button_refusal(text: str) -> ApiError:
    return bad_request(f"Can't parse inline keyboard button: {text}")

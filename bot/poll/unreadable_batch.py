"""Batches of updates that are Telegram's and unreadable: too large, or no JSON.

Such a batch would come again for ever, so the intake fetches it one update at a time and skips the unreadable one.
"""

import re
from typing import Any, Final

from aiogram.exceptions import ClientDecodeError

from bot.poll.update_ids import is_usable
from payments.recording.updates import UNREAD
from payments.telegram_errors import in_words

TRIES: Final = 3
"""The number of tries to fetch an update before the intake skips it: a gateway may have spoilt it on the way."""

_OF_TELEGRAM: Final = re.compile(
    r'\s*\{\s*"ok"\s*:\s*true\s*,\s*"result"\s*:\s*\[\s*\{\s*"update_id"\s*:\s*(\d{1,10})\b'
)
_CHARGE_ID: Final = re.compile(r'"telegram_payment_charge_id"\s*:\s*"([!-~]{1,1024}?)"')
_SENDER_ID: Final = re.compile(r'"from"\s*:\s*\{\s*"id"\s*:\s*(\d{1,16})\b')
_HEAD: Final = 4_096


def first_update_id(error: ClientDecodeError) -> int | None:
    """Return the id of the first update in an unreadable answer; None: the answer is not Telegram's."""
    found = _OF_TELEGRAM.match(_head(error))
    update_id = int(found[1]) if found else None
    return update_id if is_usable(update_id) else None


def remains(update_id: int, error: ClientDecodeError) -> dict[str, Any]:
    """Return the readable rest of an unreadable update, in the form for quarantine; it has no text of a person."""
    head = _head(error)
    known: dict[str, Any] = {"update_id": update_id, UNREAD: f"the update cannot be read: {in_words(error)}"}
    charge, sender = _CHARGE_ID.search(head), _SENDER_ID.search(head)
    if charge:
        known["telegram_payment_charge_id"] = charge[1]
    if sender:
        known["from"] = {"id": int(sender[1])}
    return known


def _head(error: ClientDecodeError) -> str:
    return error.data[:_HEAD] if isinstance(error.data, str) else ""

"""Sorts Telegram's errors by the fate of their calls: done, refused, to repeat after a pause, or unknown.

Every caller of Telegram asks `fate_of` for the fate of an error, and does what this table says:

| answer | fate | what it says of the call | what callers do |
| --- | --- | --- | --- |
| none: refused, cut, timed out, a redirect | AWAY | nothing; it may have been done | try again |
| 5xx | AWAY | Telegram has trouble of its own | try again |
| no JSON of Telegram's (a gateway, a page) | AWAY | something else answers in Telegram's place | try again |
| a code or a class that nobody knows, or no description | AWAY | nothing | try again |
| 429, `retry_after` | PAUSE | not done; all who send rest | try again after the pause, which is no failed attempt |
| 400 `Logged out`, `AUTH_KEY_...`, `SESSION_...` | LOGGED_OUT | nothing: the bot moves between servers | try again |
| 401; 404 `Not Found` and no more | TOKEN | nothing: Telegram knows no such token | try again; a start ends with 78 |
| 409 that names a webhook | WEBHOOK | nothing: it gets all updates | poll on, tell the admins the mend |
| any other 409 | CONFLICT | nothing: another program polls | poll on, tell the admins |
| 400, `migrate_to_chat_id` | MOVED | not done: the group has another id | ask again for that one |
| any other 400, 403, 404; 413 | REFUSED | understood, and never done | give up, and tell who has to know |
| `"ok": true`, the rest cannot be read | DONE | it was done | send no message twice; ask about money again |

Sources: Bot API, "Making requests" and ResponseParameters; the texts are those of telegram-bot-api (Client.cpp,
Query.cpp), which makes a 400 of every 404 that is about a chat, a message or a user.
"""

import enum
import re
from typing import Final

from aiogram.exceptions import (
    ClientDecodeError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)

TELEGRAM_ERRORS: Final = (TelegramAPIError, ClientDecodeError)
"""The second is of a proxy that answers for Telegram, in HTML: then nobody knows whether Telegram has done it."""

REFUSALS: Final = (TelegramBadRequest, TelegramForbiddenError, TelegramNotFound, TelegramEntityTooLarge)
"""The classes of refusals. Not every error of these classes is one: `is_refusal` tells."""

TelegramError = TelegramAPIError | ClientDecodeError


class Fate(enum.StrEnum):
    """The fate of a call that raised an error; the table above explains each."""

    AWAY = "away"
    PAUSE = "pause"
    LOGGED_OUT = "logged_out"
    TOKEN = "token"  # noqa: S105 - what the error is about
    WEBHOOK = "webhook"
    CONFLICT = "conflict"
    MOVED = "moved"
    REFUSED = "refused"
    DONE = "done"


_OUTAGES: Final = frozenset({Fate.AWAY, Fate.LOGGED_OUT, Fate.TOKEN, Fate.WEBHOOK, Fate.CONFLICT})
_OF_THE_WHOLE_BOT: Final = re.compile(
    r"(?:bad request: |forbidden: )?(?:(?:the )?bot (?:was|is|has been) )?(?:logged out\b|auth_key_|session_)",
    re.IGNORECASE,
)
_NOT_FOUND: Final = re.compile(r"(?:not found)?[\s.]*", re.IGNORECASE)


def fate_of(error: TelegramError) -> Fate:
    """Return the fate of the call that raised an error. Never raises, whatever the error holds."""
    said = str(error.message)
    match error:
        case ClientDecodeError():
            return Fate.DONE if isinstance(error.data, dict) and error.data.get("ok") is True else Fate.AWAY
        case TelegramRetryAfter():
            return Fate.PAUSE
        case TelegramMigrateToChat():
            return Fate.MOVED
        case TelegramConflictError():
            return Fate.WEBHOOK if names_webhook(said) else Fate.CONFLICT
        case TelegramUnauthorizedError():
            return Fate.TOKEN
        case TelegramNotFound() if _NOT_FOUND.fullmatch(said):
            return Fate.TOKEN
        case TelegramBadRequest() | TelegramForbiddenError() if _OF_THE_WHOLE_BOT.match(said):
            return Fate.LOGGED_OUT
    return Fate.REFUSED if isinstance(error, REFUSALS) else Fate.AWAY


def names_webhook(said: str) -> bool:
    """Tell whether an error of a conflict (409) names a webhook, and not another poller."""
    return "webhook" in said.lower()


def is_refusal(error: TelegramError) -> bool:
    """Tell whether an error says that Telegram has understood a call and refuses it."""
    return fate_of(error) is Fate.REFUSED


def is_outage(error: TelegramError) -> bool:
    """Tell whether an error says nothing of its call, so that a later one may succeed. A pause (429) is no outage."""
    return fate_of(error) in _OUTAGES


def in_words(error: TelegramError) -> str:
    """Return Telegram's error in one line; for an unreadable answer, the names of the error classes alone.

    The answer stays out, because it may hold people's messages.
    """
    said = type(error.original).__name__ if isinstance(error, ClientDecodeError) else error.message
    return f"{type(error).__name__}: {said}"

"""What a call to Telegram raises that is no fault of ours, and how it is said in a line."""

from typing import Final

from aiogram.exceptions import (
    ClientDecodeError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramNotFound,
)

TELEGRAM_ERRORS: Final = (TelegramAPIError, ClientDecodeError)
"""The second when a proxy answers in Telegram's place, in HTML: then it is not known whether Telegram has done it."""

REFUSALS: Final = (TelegramBadRequest, TelegramForbiddenError, TelegramNotFound)
"""Telegram has understood what it is asked for, and will not do it."""


def in_words(error: TelegramAPIError | ClientDecodeError) -> str:
    """Say what was raised; an answer that cannot be read is not quoted: it may hold what people wrote."""
    said = type(error.original).__name__ if isinstance(error, ClientDecodeError) else error.message
    return f"{type(error).__name__}: {said}"

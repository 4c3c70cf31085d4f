"""What a handler raised: by its kind into the log, with one sentence for the person, and never any further."""

from aiogram import Bot
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.types import ErrorEvent, Update
from loguru import logger

from bot.words import Words
from db.errors import is_away
from payments.facts import Fact
from payments.telegram_errors import TELEGRAM_ERRORS, in_words

_NOT_TAKEN = (ClientDecodeError, TelegramNetworkError, TelegramRetryAfter, TelegramServerError)


async def on_error(event: ErrorEvent, bot: Bot, words: Words, fact: Fact | None = None) -> None:
    """Log an error and tell the person that something went wrong; of a payment nothing, for the worker goes on with it.

    What the error says is for the log alone.
    """
    error = event.exception
    if _came_too_late(error):
        # The answer to a button is given while what its handler raised passes by: that one is the error.
        logger.info("an answer came too late: {}", error)
        if not isinstance(error.__context__, Exception):
            return
        error = error.__context__
    _log(error, event.update, fact)
    if fact is None and not isinstance(error, (TelegramForbiddenError, *_NOT_TAKEN)):
        await _apologise(event.update, bot, words)


def _came_too_late(error: Exception) -> bool:
    return isinstance(error, TelegramBadRequest) and "query is too old" in error.message


def _log(error: Exception, update: Update, fact: Fact | None) -> None:
    sender = getattr(update.event, "from_user", None)
    bound = logger.bind(
        update_id=update.update_id,
        update_type=update.event_type,
        telegram_id=sender.id if sender else None,
        charge_id=fact.charge_id if fact else None,
    )
    if isinstance(error, TelegramForbiddenError):
        bound.info("an answer is not wanted: {}", error.message)
    elif isinstance(error, _NOT_TAKEN):
        bound.warning("Telegram did not take an answer: {}", in_words(error))
    elif is_away(error):
        bound.warning("an update was not handled, the database is away: {}", type(error).__name__)
    else:
        bound.opt(exception=error).error("an update could not be handled")


async def _apologise(update: Update, bot: Bot, words: Words) -> None:
    try:
        if update.pre_checkout_query is not None:
            await update.pre_checkout_query.answer(ok=False, error_message=words.plain("decline.try_again"))
        elif update.callback_query is not None:
            await bot.send_message(update.callback_query.from_user.id, words.say("sorry"))
        elif update.message is not None:
            await update.message.answer(words.say("sorry"))
    except TELEGRAM_ERRORS as error:
        logger.bind(update_id=update.update_id).warning("an apology was not taken: {}", in_words(error))

"""The end of every error that a handler raises: a log line by its kind, and one sentence for the person."""

from typing import Final

from aiogram import Bot
from aiogram.enums import ChatType
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError
from aiogram.types import ErrorEvent, Update
from loguru import logger

from bot.calls.retry_calls import ANSWER, somebody_waits
from bot.chat.talk import Place, answer, place_of_button, say
from bot.chat.words import Words
from bot.handlers.places import is_own_chat
from db.errors import is_away
from payments.audit.facts import Fact
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, TelegramError, fate_of, in_words, is_outage

_NOT_NOW: Final = frozenset({Fate.PAUSE, Fate.DONE})


async def on_error(
    event: ErrorEvent, bot: Bot, words: Words, fact: Fact | None = None, *, in_admin_chat: bool = False
) -> None:
    """Log an error of a handler, and tell the person that something went wrong.

    It tells nobody of an error at a payment, because the worker goes on with the payment.

    The words of the error are for the log alone.
    """
    error = event.exception
    if came_too_late(error):
        # A late answer to a button may hide the error of its handler, and that error counts.
        logger.info("an answer came too late: {}", error)
        if not isinstance(error.__context__, Exception):
            return
        error = error.__context__
    _log(error, event.update, fact)
    untaken = _not_taken(error)
    was_told = untaken is not None and fate_of(untaken) is Fate.DONE
    if fact is None and not was_told and not isinstance(error, TelegramForbiddenError):
        # An answer that Telegram did not take has used up the time to repeat it, so the apology has one try.
        with somebody_waits(seconds_gone=0 if untaken is None else ANSWER.seconds):
            await _apologise(event.update, bot, words, in_admin_chat=in_admin_chat)


def came_too_late(error: Exception) -> bool:
    """Tell whether Telegram's error says that an answer came too late: nobody waits for it any more."""
    return isinstance(error, TelegramBadRequest) and "query is too old" in error.message


def _not_taken(error: Exception) -> TelegramError | None:
    """Return the error if Telegram did not take an answer, through no fault of the answer; else None."""
    if isinstance(error, TELEGRAM_ERRORS) and (is_outage(error) or fate_of(error) in _NOT_NOW):
        return error
    return None


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
    elif (untaken := _not_taken(error)) is not None:
        bound.warning("Telegram did not take an answer: {}", in_words(untaken))
    elif is_away(error):
        bound.warning("an update was not handled, the database is away: {}", type(error).__name__)
    else:
        bound.opt(exception=error).error("an update could not be handled")


async def _apologise(update: Update, bot: Bot, words: Words, *, in_admin_chat: bool) -> None:
    try:
        if update.pre_checkout_query is not None:
            await update.pre_checkout_query.answer(ok=False, error_message=words.plain("decline.try_again"))
        elif update.callback_query is not None:
            place = place_of_button(update.callback_query)
            presser_id = update.callback_query.from_user.id
            await say(bot, place if is_own_chat(place, presser_id) else Place(presser_id), words.say("sorry"))
        elif update.message is not None and (in_admin_chat or update.message.chat.type == ChatType.PRIVATE):
            await answer(update.message, words.say("sorry"))
    except TELEGRAM_ERRORS as error:
        logger.bind(update_id=update.update_id).warning("an apology was not taken: {}", in_words(error))

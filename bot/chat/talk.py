"""Messages into a chat: into the topic where they belong, or in place of the message with the pressed button.

A closed or deleted topic is no reason to stay silent: the chat itself, its General, takes the message then.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from aiogram import Bot
from aiogram.exceptions import TelegramAPIError, TelegramBadRequest, TelegramMigrateToChat
from aiogram.methods import SendMessage, SendPhoto
from aiogram.types import CallbackQuery, InlineKeyboardMarkup, Message
from loguru import logger

Said = TypeVar("Said")


@dataclass(frozen=True, slots=True)
class Place:
    """A place for a message: a chat, a topic in it (None: the chat itself), and the message with the pressed button.

    The ids are Telegram's (Bot API, Message: message_thread_id).
    """

    chat_id: int
    topic_id: int | None = None
    message_id: int | None = None


def topic_of(message: Message) -> int | None:
    """Return the topic in which to talk to a message's sender; None: the chat itself.

    A thread of replies outside of a forum has an id as well, but Telegram takes no message by it.
    """
    return message.message_thread_id if message.is_topic_message else None


def place_of(message: Message) -> Place:
    """Return the place in which to talk to a message's sender."""
    return Place(message.chat.id, topic_of(message))


def place_of_button(query: CallbackQuery) -> Place:
    """Return the place in which to talk to a button's presser; without a message, the presser's own chat.

    Telegram sends only the ids of a message that is too old (Bot API, InaccessibleMessage).
    """
    message = query.message
    if message is None:
        return Place(query.from_user.id)
    topic_id = topic_of(message) if isinstance(message, Message) else None
    return Place(message.chat.id, topic_id, message.message_id)


def is_topic_gone(error: TelegramAPIError) -> bool:
    """Tell whether Telegram refuses to let us talk in a topic: it is deleted or closed, or never existed.

    Its words for it are "message thread not found", TOPIC_CLOSED, TOPIC_DELETED and TOPIC_ID_INVALID (Telegram API,
    messages.sendMessage).
    """
    said = error.message.lower()
    return isinstance(error, TelegramBadRequest) and ("message thread" in said or "topic_" in said)


async def in_topic(topic_id: int | None, send: Callable[[int | None], Awaitable[Said]]) -> Said:
    """Send into a topic, or into the chat itself when Telegram refuses the topic; return the result of `send`.

    Raises the errors of `send` for any other reason.
    """
    try:
        return await send(topic_id)
    except TelegramBadRequest as error:
        if topic_id is None or not is_topic_gone(error):
            raise
        logger.warning(
            "Telegram refuses the topic {}, so the message goes into the chat itself: {}", topic_id, error.message
        )
    return await send(None)


async def say(bot: Bot, place: Place, text: str, keyboard: InlineKeyboardMarkup | None = None) -> None:
    """Send a message to a place. Raises aiogram's errors."""
    await _send(bot, SendMessage(chat_id=place.chat_id, text=text, reply_markup=keyboard), place)


async def answer(message: Message, text: str, keyboard: InlineKeyboardMarkup | None = None) -> None:
    """Answer a message in its chat and topic. Raises aiogram's errors."""
    await _send(_bot_of(message), message.answer(text, reply_markup=keyboard), place_of(message))


async def answer_with(message: Message, photo: SendPhoto) -> None:
    """Answer a message with a picture, in its chat and topic. Raises aiogram's errors."""
    await _send(_bot_of(message), photo, place_of(message))


async def edit(bot: Bot, place: Place, text: str, keyboard: InlineKeyboardMarkup | None) -> None:
    """Edit the message of a pressed button, or send a new one below it when Telegram refuses the edit.

    A second tap changes nothing, and a message may be deleted or too old for an edit: neither undoes what the button
    has done. Raises aiogram's errors when both ways fail.
    """
    if place.message_id is not None:
        try:
            await bot.edit_message_text(text, chat_id=place.chat_id, message_id=place.message_id, reply_markup=keyboard)
        except TelegramBadRequest as error:
            if "message is not modified" in error.message:
                return
            logger.info("Telegram cannot edit a message, so the desk sends a new one: {}", error.message)
        except TelegramMigrateToChat as error:
            place = replace(place, chat_id=error.migrate_to_chat_id, topic_id=None)
        else:
            return
    await say(bot, place, text, keyboard)


async def _send(bot: Bot, method: SendMessage | SendPhoto, place: Place) -> None:
    async def send(topic_id: int | None) -> None:
        await bot(method.model_copy(update={"message_thread_id": topic_id}))

    try:
        await in_topic(place.topic_id, send)
    except TelegramMigrateToChat as error:
        moved = {"chat_id": error.migrate_to_chat_id, "message_thread_id": None}
        await bot(method.model_copy(update=moved))


def _bot_of(message: Message) -> Bot:
    if message.bot is None:
        raise ValueError("a message without a bot cannot be answered")
    return message.bot

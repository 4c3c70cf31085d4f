"""The commands that Telegram requires of a selling bot (/terms, /paysupport), /start, /help, /privacy, and the rest."""

from typing import Final

from aiogram import Bot, F, Router
from aiogram.enums import ContentType
from aiogram.types import CallbackQuery, Message
from aiogram.utils.callback_answer import CallbackAnswer
from markupsafe import Markup

from bot.chat.bot_name import CommandHere
from bot.chat.commands import register_admin
from bot.chat.history_pages import HistoryPages
from bot.chat.talk import answer
from bot.chat.words import Words
from bot.handlers.places import IN_PRIVATE
from payments.notices import Admins

_WRITTEN: Final = F.content_type.in_(
    {
        ContentType.TEXT,
        ContentType.ANIMATION,
        ContentType.AUDIO,
        ContentType.CONTACT,
        ContentType.DICE,
        ContentType.DOCUMENT,
        ContentType.LOCATION,
        ContentType.PHOTO,
        ContentType.POLL,
        ContentType.STICKER,
        ContentType.STORY,
        ContentType.VENUE,
        ContentType.VIDEO,
        ContentType.VIDEO_NOTE,
        ContentType.VOICE,
    }
)
"""Messages that a person sends on purpose and may expect an answer to, unlike those that the app sends by itself."""


def make_router() -> Router:
    """Return the router of support, the last one: it takes every message and button that no other router knows."""
    router = Router(name="support")
    router.message.filter(IN_PRIVATE)
    router.message.register(on_start, CommandHere("start", ignore_case=True))
    router.message.register(on_help, CommandHere("help", ignore_case=True))
    router.message.register(on_terms, CommandHere("terms", ignore_case=True))
    router.message.register(on_privacy, CommandHere("privacy", ignore_case=True))
    router.message.register(on_paysupport, CommandHere("paysupport", ignore_case=True))
    router.message.register(on_unknown_command, F.text.lstrip().startswith("/"))
    router.message.register(on_other, _WRITTEN)
    router.callback_query.register(on_stale_button)
    return router


async def on_start(message: Message, words: Words, bot: Bot, admins: Admins) -> None:
    """Answer /start with a welcome, and register an admin's menu.

    Telegram knows an admin's chat only from now on.
    """
    await answer(message, words.say("start"))
    if message.chat.id in admins.ids:
        await register_admin(bot, message.chat.id)


async def on_help(message: Message, words: Words, admins: Admins) -> None:
    """Answer /help with the commands; only admins read the admins' own."""
    parts = [words.say("help")]
    if message.chat.id in admins.ids:
        parts.append(words.say("help.admin"))
    await answer(message, Markup("\n\n").join(parts))


async def on_terms(message: Message, words: Words, support_contact: str | None) -> None:
    """Answer /terms with the terms of sale."""
    await answer(message, Markup("\n\n").join([words.say("terms"), *_contact(words, support_contact)]))


async def on_privacy(message: Message, words: Words, support_contact: str | None) -> None:
    """Answer /privacy with the data that the desk keeps about a person, the reasons, and the way to erasure."""
    parts = [words.say("privacy", telegram_id=message.chat.id), *_contact(words, support_contact)]
    await answer(message, Markup("\n\n").join(parts))


async def on_paysupport(message: Message, words: Words, history: HistoryPages, support_contact: str | None) -> None:
    """Answer /paysupport with the way to get help, and the latest charge ids, which the seller asks for."""
    latest = await history.latest(words, message.chat.id)
    parts = [words.say("paysupport"), *_contact(words, support_contact)]
    parts.append(words.say("paysupport.your_id", telegram_id=message.chat.id))
    parts += [words.say("paysupport.latest"), *latest] if latest else [words.say("paysupport.nothing")]
    await answer(message, Markup("\n\n").join(parts))


def _contact(words: Words, support_contact: str | None) -> list[Markup]:
    return [words.say("contact", contact=support_contact)] if support_contact else []


async def on_unknown_command(message: Message, words: Words) -> None:
    """Answer an unknown command, and in the same words an admins' command from anybody else."""
    await answer(message, words.say("unknown.command"))


async def on_other(message: Message, words: Words) -> None:
    """Answer any other message of a person."""
    await answer(message, words.say("unknown.text"))


async def on_stale_button(_: CallbackQuery, words: Words, callback_answer: CallbackAnswer) -> None:
    """Answer a button that no other handler knows."""
    callback_answer.text = words.plain("toast.stale")
    callback_answer.show_alert = True

"""Filters by sender and chat: everybody in private chats, admins there and in the admins' group."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

from aiogram import Bot, F
from aiogram.enums import ChatType
from aiogram.filters import Filter
from aiogram.types import CallbackQuery, Message, TelegramObject, Update
from loguru import logger

from bot.chat.bot_name import BotName
from bot.chat.moved_chats import AdminChat
from bot.chat.talk import Place, answer
from bot.chat.words import Words
from db.clock import Clock
from db.errors import is_away
from payments.notices import Admins
from payments.telegram_errors import TELEGRAM_ERRORS, in_words

IN_PRIVATE: Final = F.chat.type == ChatType.PRIVATE

WRITTEN_HERE: Final = (
    F.text & ~F.forward_origin & ~F.via_bot & ~F.sender_chat & ~F.sender_business_bot & ~F.guest_bot_caller_user
)
"""The filter of a text that the sender wrote by hand and in the own name.

An admin who forwards somebody's "/refund ..." to the others shows the order, and does not give it. A text that an
inline bot made is that bot's word (Bot API, Message: via_bot), and a caption is about its picture.
"""

STRANGERS_MAX: Final = 10_000
"""Foreign groups remembered as told; beyond them the bot says nothing in a new one."""
STRANGERS_PAUSE: Final = timedelta(days=1)


class Here:
    """The middleware that passes updates from private chats and the admins' group, and hands in `in_admin_chat`.

    In any other group the bot does nothing and counts nothing, except that it answers a command which names it, once a
    day for each group: it says where a person can talk to it.
    """

    def __init__(self, admin_chat: AdminChat, name: BotName, clock: Clock) -> None:
        self._admin_chat = admin_chat
        self._name = name
        self._clock = clock
        # The groups that the bot has told, the longest ago first.
        self._told: OrderedDict[int, datetime] = OrderedDict()

    async def __call__(
        self,
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]],
        event: TelegramObject,
        data: dict[str, Any],
    ) -> Any:
        """Handle an update or drop it; the middleware that hands in the words has run before."""
        data["in_admin_chat"] = False
        message = event.message if isinstance(event, Update) else None
        if message is None or message.chat.type == ChatType.PRIVATE or data.get("fact"):
            return await handler(event, data)
        if message.migrate_to_chat_id is not None or message.migrate_from_chat_id is not None:
            return await handler(event, data)
        try:
            data["in_admin_chat"] = await self._is_admin_chat(message)
        except Exception as error:
            if not is_away(error):
                raise
            logger.bind(chat_id=message.chat.id).warning("a group is not known while the database is away")
            return None
        if data["in_admin_chat"]:
            return await handler(event, data)
        if message.chat.type in {ChatType.GROUP, ChatType.SUPERGROUP}:
            await self._tell_stranger(data["bot"], message, data["words"])
        return None

    async def _is_admin_chat(self, message: Message) -> bool:
        # The bot answers only commands in a group, so it asks the database only about commands.
        return message.chat.id == self._admin_chat.setting or (
            _is_command(message) and await self._admin_chat.is_it(message.chat.id)
        )

    async def _tell_stranger(self, bot: Bot, message: Message, words: Words) -> None:
        mention = _written(message).split(maxsplit=1)[0].partition("@")[2] if _is_command(message) else ""
        try:
            if not mention or not self._may_tell(message.chat.id) or not await self._name.is_ours(bot, mention):
                return
            # The bot may have answered another update of the group while it asked Telegram for the name.
            if not self._may_tell(message.chat.id):
                return
            self._told[message.chat.id] = self._clock()
            await answer(message, words.say("strangers", name=await self._name.current(bot)))
        except TELEGRAM_ERRORS as error:
            logger.bind(chat_id=message.chat.id).info("a word in a group was not taken: {}", in_words(error))

    def _may_tell(self, chat_id: int) -> bool:
        now = self._clock()
        while self._told and now - next(iter(self._told.values())) >= STRANGERS_PAUSE:
            self._told.popitem(last=False)
        return chat_id not in self._told and len(self._told) < STRANGERS_MAX


def _written(message: Message) -> str:
    return message.text or message.caption or ""


def _is_command(message: Message) -> bool:
    return _written(message).startswith("/")


class InPrivateOrAdminChat(Filter):
    """Passes messages in a private chat or the admins' group."""

    async def __call__(self, message: Message, *, in_admin_chat: bool) -> bool:
        """Tell whether an admin's command counts in this chat."""
        return message.chat.type == ChatType.PRIVATE or in_admin_chat


class ByAdmin(Filter):
    """Passes what an admin sent. The sender's id decides, never the chat, because others may write there too."""

    async def __call__(self, event: Message | CallbackQuery, admins: Admins) -> bool:
        """Tell whether the sender is an admin."""
        return event.from_user is not None and event.from_user.id in admins.ids


class InNameOfAdminChat(Filter):
    """Passes messages of anonymous admins, whose sender is the admins' group itself (Bot API, Message: sender_chat)."""

    async def __call__(self, message: Message, *, in_admin_chat: bool) -> bool:
        """Tell whether the admins' group is the sender."""
        return in_admin_chat and message.sender_chat is not None and message.sender_chat.id == message.chat.id


def is_own_chat(place: Place, user_id: int) -> bool:
    """Tell whether a place is a user's private chat with the bot, which has the user's id."""
    return place.chat_id == user_id


def sender_id(message: Message) -> int:
    """Return the Telegram id of a sender, whose place a filter has checked. Raises ValueError without a sender."""
    if message.from_user is None:
        raise ValueError("a message without a sender passed a filter that asks for one")
    return message.from_user.id

"""The menus of commands that Telegram shows: everybody's, and the longer one of the admins (Bot API, setMyCommands)."""

from collections.abc import Iterable, Sequence
from typing import Final

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError
from aiogram.types import BotCommand, BotCommandScopeAllPrivateChats, BotCommandScopeChat, BotCommandScopeUnion
from loguru import logger

from bot.words import for_language

# By the keys of their descriptions: an admin's `history` is described as `history_of`.
_EVERYBODYS: Final = ("buy", "status", "history", "terms", "paysupport", "help")
_ADMINS: Final = ("buy", "status", "history_of", "refund", "pending", "retry", "terms", "paysupport", "help")
_IN_ADMIN_CHAT: Final = ("history_of", "refund", "pending", "retry", "help")


async def register_commands(bot: Bot, admin_ids: Iterable[int], admin_chat_id: int | None) -> None:
    """Tell Telegram the menus: everybody's for private chats, the admins' for their own and for their group alone.

    Raises aiogram's TelegramAPIError when Telegram is away.
    """
    await _register(bot, _EVERYBODYS, BotCommandScopeAllPrivateChats())
    for admin_id in admin_ids:
        await register_admin(bot, admin_id)
    if admin_chat_id is not None:
        try:
            await _register(bot, _IN_ADMIN_CHAT, BotCommandScopeChat(chat_id=admin_chat_id))
        except (TelegramBadRequest, TelegramForbiddenError) as error:
            logger.warning("the admins' group {} has no menu, is the bot in it? {}", admin_chat_id, error.message)


async def register_admin(bot: Bot, admin_id: int) -> None:
    """Tell Telegram the menu of an admin's private chat, if it knows that chat; raises as register_commands."""
    try:
        await _register(bot, _ADMINS, BotCommandScopeChat(chat_id=admin_id))
    except (TelegramBadRequest, TelegramForbiddenError) as error:
        logger.warning("the admin {} has no menu until they press Start in the bot: {}", admin_id, error.message)


async def _register(bot: Bot, keys: Sequence[str], scope: BotCommandScopeUnion) -> None:
    words = for_language(None)
    menu = [BotCommand(command=key.removesuffix("_of"), description=words.plain(f"command.{key}")) for key in keys]
    await bot.set_my_commands(menu, scope=scope)

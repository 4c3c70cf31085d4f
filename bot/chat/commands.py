"""The menus of commands in Telegram: everybody's, and the longer one of the admins (Bot API, setMyCommands)."""

from collections.abc import Iterable, Sequence
from typing import Final

import stamina
from aiogram import Bot
from aiogram.exceptions import TelegramMigrateToChat, TelegramRetryAfter
from aiogram.types import BotCommand, BotCommandScopeAllPrivateChats, BotCommandScopeChat, BotCommandScopeUnion
from loguru import logger

from bot.chat.words import for_language
from payments.telegram_errors import TELEGRAM_ERRORS, is_refusal

ATTEMPTS_MAX: Final = 20
PAUSE_SECONDS_FIRST: Final = 1.0
PAUSE_SECONDS_MAX: Final = 60.0

# Keys of the descriptions: an admin's `history` has the description `history_of`.
_EVERYBODYS: Final = ("buy", "status", "history", "terms", "privacy", "paysupport", "help")
_ADMINS: Final = (
    "buy",
    "status",
    "history_of",
    "refund",
    "pending",
    "retry",
    "report",
    "terms",
    "privacy",
    "paysupport",
    "help",
)
_IN_ADMIN_CHAT: Final = ("history_of", "refund", "pending", "retry", "report", "help")


def _pause(error: Exception) -> bool | float:
    """Return the seconds before the next try to register the menus; True: the usual pause, False: no more tries."""
    if isinstance(error, TELEGRAM_ERRORS):
        logger.warning("Telegram has not taken the menus of commands yet: {}", type(error).__name__)
    if isinstance(error, TelegramRetryAfter):
        return float(error.retry_after)
    return isinstance(error, TELEGRAM_ERRORS)


_PATIENT: Final = stamina.AsyncRetryingCaller(
    attempts=ATTEMPTS_MAX, timeout=None, wait_initial=PAUSE_SECONDS_FIRST, wait_max=PAUSE_SECONDS_MAX
).on(_pause)


async def register_patiently(bot: Bot, admin_ids: Iterable[int], admin_chat_id: int | None) -> None:
    """Register the menus of commands, with a few retries; never raise.

    A failure ends in the log, because nobody waits for a menu.
    """
    try:
        await _PATIENT(register_commands, bot, admin_ids, admin_chat_id)
    except Exception as error:  # noqa: BLE001 - a desk sells without a menu
        is_bug = not isinstance(error, TELEGRAM_ERRORS)
        logger.opt(exception=error if is_bug else None).error(
            "the desk gives up the menus of commands until the next start"
        )


async def register_commands(bot: Bot, admin_ids: Iterable[int], admin_chat_id: int | None) -> None:
    """Register the menus of commands: everybody's for private chats, the admins' for their chats and their group.

    Raises aiogram's errors when Telegram is away.
    """
    await _register(bot, _EVERYBODYS, BotCommandScopeAllPrivateChats())
    for admin_id in admin_ids:
        await register_admin(bot, admin_id)
    if admin_chat_id is not None:
        await register_admin_chat(bot, admin_chat_id)


async def register_admin_chat(bot: Bot, admin_chat_id: int) -> None:
    """Register the commands of the admins' group, under its new id if it has become a supergroup.

    Raises as register_commands.
    """
    try:
        await _register(bot, _IN_ADMIN_CHAT, BotCommandScopeChat(chat_id=admin_chat_id))
    except TelegramMigrateToChat as error:
        await _register(bot, _IN_ADMIN_CHAT, BotCommandScopeChat(chat_id=error.migrate_to_chat_id))
    except TELEGRAM_ERRORS as error:
        if not is_refusal(error):
            raise
        logger.warning("the admins' group {} gets no menu, is the bot in it? {}", admin_chat_id, error.message)


async def register_admin(bot: Bot, admin_id: int) -> None:
    """Register the menu of an admin's private chat, if Telegram knows that chat; raises as register_commands."""
    try:
        await _register(bot, _ADMINS, BotCommandScopeChat(chat_id=admin_id))
    except TELEGRAM_ERRORS as error:
        if not is_refusal(error):
            raise
        logger.warning("the admin {} gets no menu until they press Start in the bot: {}", admin_id, error.message)


async def _register(bot: Bot, keys: Sequence[str], scope: BotCommandScopeUnion) -> None:
    words = for_language(None)
    menu = [BotCommand(command=key.removesuffix("_of"), description=words.plain(f"command.{key}")) for key in keys]
    await bot.set_my_commands(menu, scope=scope)

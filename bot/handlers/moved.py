"""Telegram's messages that a group became a supergroup, under the old id and the new one (Bot API, Message)."""

from aiogram import Bot, F, Router
from aiogram.types import Message

from bot.chat.commands import register_admin_chat
from bot.chat.moved_chats import AdminChat


def make_router() -> Router:
    """Return the router of messages about groups that became supergroups."""
    router = Router(name="moved")
    router.message.register(on_moved, F.migrate_to_chat_id | F.migrate_from_chat_id)
    return router


async def on_moved(message: Message, bot: Bot, admin_chat: AdminChat) -> None:
    """Handle a group that moved: record the new id of the admins' group, and set its menu there; ignore others."""
    if message.migrate_to_chat_id is not None:
        chat_id, moved_to = message.chat.id, message.migrate_to_chat_id
    else:
        chat_id, moved_to = message.migrate_from_chat_id or 0, message.chat.id
    if await admin_chat.note(chat_id, moved_to):
        await register_admin_chat(bot, moved_to)

"""Who may say what where: everybody in private chats, an admin there and in the admins' group."""

from typing import Final

from aiogram import F
from aiogram.enums import ChatType
from aiogram.filters import Filter
from aiogram.types import CallbackQuery, Message

IN_PRIVATE: Final = F.chat.type == ChatType.PRIVATE

WRITTEN_HERE: Final = ~F.forward_origin
"""An admin who forwards somebody's "/refund ..." to the others shows it to them, and does not give the order."""


class InPrivateOrAdminChat(Filter):
    """A private chat, or the admins' group."""

    async def __call__(self, message: Message, admin_chat_id: int | None) -> bool:
        """Tell whether an admin's command counts in this chat."""
        return message.chat.type == ChatType.PRIVATE or message.chat.id == admin_chat_id


class ByAdmin(Filter):
    """An admin sent it, known by the sender's id: never by the chat, in which others may write too."""

    async def __call__(self, event: Message | CallbackQuery, admins: frozenset[int]) -> bool:
        """Tell whether the sender is an admin."""
        return event.from_user is not None and event.from_user.id in admins


class InNameOfAdminChat(Filter):
    """An anonymous admin of the admins' group: the sender is the group itself (Bot API, Message: sender_chat)."""

    async def __call__(self, message: Message, admin_chat_id: int | None) -> bool:
        """Tell whether the admins' group is the sender."""
        return message.sender_chat is not None and message.sender_chat.id == message.chat.id == admin_chat_id


def sender_id(message: Message) -> int:
    """Return the Telegram id of a message's sender, whom a filter has found to be there."""
    if message.from_user is None:
        raise ValueError("a message without a sender passed a filter that asks for one")
    return message.from_user.id

"""The admins' group that became a supergroup: its id differs from the ADMIN_CHAT_ID of the settings from then on."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from aiogram import Bot
from aiogram.enums import ChatAction
from aiogram.exceptions import TelegramMigrateToChat
from loguru import logger
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.clock import Clock
from db.engine import Database
from db.insert import insert_into
from db.tables import MovedChat
from payments.notices import Notice, owe
from payments.telegram_errors import TELEGRAM_ERRORS, in_words

SUPERGROUP_ID_MAX: Final = -1_000_000_000_000
"""The ids of supergroups are below it, and do not change any more (Bot API, Message: migrate_to_chat_id)."""


async def find_moved(session: AsyncSession, chat_ids: Collection[int]) -> Mapping[int, int]:
    """Return the new ids of those groups among `chat_ids` that became supergroups."""
    query = select(MovedChat).where(MovedChat.chat_id.in_(chat_ids))
    return {row.chat_id: row.moved_to for row in await session.scalars(query)}


async def note_moved(session: AsyncSession, chat_id: int, moved_to: int, clock: Clock) -> None:
    """Record the new id of a group that became a supergroup, for groups that moved to the old id as well."""
    if chat_id == moved_to:
        return
    insert = insert_into(session, MovedChat)
    insert = insert.on_conflict_do_update(index_elements=["chat_id"], set_={"moved_to": moved_to})
    await session.execute(insert, {"chat_id": chat_id, "moved_to": moved_to, "noted_at": clock()})
    before = update(MovedChat).where(MovedChat.moved_to == chat_id, MovedChat.chat_id != moved_to)
    await session.execute(before.values(moved_to=moved_to))
    # The new group exists, so an earlier record that it moved away is false.
    await session.execute(delete(MovedChat).where(MovedChat.chat_id == moved_to))


async def owe_moved(session: AsyncSession, chat_id: int, moved_to: int, clock: Clock) -> None:
    """Owe the admins, in the group under its new id, the notice that ADMIN_CHAT_ID has to change."""
    await owe(
        session,
        Notice.ADMIN_CHAT_MOVED,
        event_id=f"moved:{chat_id}:{moved_to}",
        chat_id=moved_to,
        facts={"old_chat_id": chat_id, "new_chat_id": moved_to},
        now=clock(),
    )


def log_moved(moved_to: int) -> None:
    """Log the new value of ADMIN_CHAT_ID for a chat that moved."""
    logger.error("the group is now {}: put that into ADMIN_CHAT_ID", moved_to)


class AdminChat:
    """The admins' group: the chat in ADMIN_CHAT_ID, and the supergroup that it became."""

    def __init__(self, database: Database, clock: Clock, chat_id: int | None, on_owed: Callable[[], None]) -> None:
        """Keep the setting, `chat_id` (None: there is no group); `note` calls `on_owed` when a notice is due."""
        self._database = database
        self._clock = clock
        self._chat_id = chat_id
        self._on_owed = on_owed

    @property
    def setting(self) -> int | None:
        """The id in ADMIN_CHAT_ID, whether or not that chat has moved since."""
        return self._chat_id

    async def current_id(self) -> int | None:
        """Return the id of the admins' group, moved or not. Raises SQLAlchemy's errors when the database is away."""
        if self._chat_id is None:
            return None
        async with self._database.reading() as session:
            moved = await find_moved(session, [self._chat_id])
        return moved.get(self._chat_id, self._chat_id)

    async def is_it(self, chat_id: int) -> bool:
        """Tell whether a chat is the admins' group, moved or not, by former or new id; raises as current_id."""
        if self._chat_id is None or chat_id > 0:
            return False
        return chat_id == self._chat_id or chat_id == await self.current_id()

    async def note(self, chat_id: int, moved_to: int) -> bool:
        """Record the new id of a moved admins' group and owe the notice; False: it is another group.

        Raises as current_id.
        """
        if not await self.is_it(chat_id):
            return False
        async with self._database.transaction() as session:
            await note_moved(session, chat_id, moved_to, self._clock)
            await owe_moved(session, chat_id, moved_to, self._clock)
        log_moved(moved_to)
        self._on_owed()
        return True

    async def look(self, bot: Bot) -> None:
        """Ask Telegram whether the admins' group moved while the desk did not run, and log the new id.

        Telegram refuses to write to a former group with its new id, and forgets its own update about the move after a
        day (Bot API, getting updates). Raises SQLAlchemy's errors when the database is away.
        """
        if self._chat_id is None:
            return
        current_id = await self.current_id()
        if current_id is not None and current_id != self._chat_id:
            log_moved(current_id)
        elif SUPERGROUP_ID_MAX < self._chat_id < 0:
            try:
                await bot.send_chat_action(self._chat_id, ChatAction.TYPING)
            except TelegramMigrateToChat as error:
                await self.note(self._chat_id, error.migrate_to_chat_id)
            except TELEGRAM_ERRORS as error:
                logger.info(
                    "Telegram does not say whether the admins' group {} has moved: {}", self._chat_id, in_words(error)
                )

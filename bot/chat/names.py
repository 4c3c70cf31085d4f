"""The @usernames of users: the desk records them from updates, and asks Telegram before an admin relies on one.

A @username passes from one account to another; the Telegram id stays. The desk records a name only for users whom the
database knows, and only when it has changed.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from aiogram import Bot
from aiogram.types import TelegramObject, Update
from loguru import logger
from sqlalchemy import select, update

from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.tables import User
from db.users import find_namesakes, find_user
from payments.telegram_errors import TELEGRAM_ERRORS, in_words

REMEMBERED_MAX: Final = 10_000
"""The number of users, the latest ones, whose recorded name is known to be right."""
SURE_FOR: Final = timedelta(hours=1)
"""The time for which a recorded name counts as right: a payment, or Telegram's ledger, may have brought another."""


@dataclass(frozen=True, slots=True)
class Found:
    """The users found by a @username: its owners, its former owners, and whether Telegram confirmed each."""

    have: Sequence[User]
    had: Sequence[User]
    is_sure: bool = True


class Names:
    """Records @usernames, and finds users by them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._written: OrderedDict[int, tuple[str | None, datetime]] = OrderedDict()

    async def __call__(
        self,
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]],
        event: TelegramObject,
        data: dict[str, Any],
    ) -> Any:
        """Record the sender's @username after an update's handler, as a middleware of all updates.

        It leaves out payments, whose rows have the name already, and pre-checkouts, which must not wait.
        """
        answered = await handler(event, data)
        if isinstance(event, Update) and not data.get("fact"):
            told = event.message or event.callback_query
            sender = told.from_user if told is not None else None
            if sender is not None and not sender.is_bot:
                await self._record_username(sender.id, sender.username)
        return answered

    async def _record_username(self, telegram_id: int, username: str | None) -> None:
        written, written_at = self._written.get(telegram_id, (None, None))
        if written_at is not None and written == username and abs(self._clock() - written_at) < SURE_FOR:
            return
        try:
            await self.write(telegram_id, username)
        except Exception as error:
            if not is_away(error):
                raise
            logger.bind(telegram_id=telegram_id).info("the desk does not record a @username: {}", type(error).__name__)

    async def write(self, telegram_id: int, username: str | None) -> None:
        """Record a user's present @username, None for none; ignore an unknown or erased user.

        Raises SQLAlchemy's errors when the database is away.
        """
        async with self._database.reading() as session:
            user = await find_user(session, telegram_id)
        if user is not None and user.erased_at is None and user.username != username:
            known = update(User).where(User.telegram_id == telegram_id, User.erased_at.is_(None))
            async with self._database.transaction() as session:
                await session.execute(known.values(username=username))
        self._written[telegram_id] = username, self._clock()
        self._written.move_to_end(telegram_id)
        if len(self._written) > REMEMBERED_MAX:
            self._written.popitem(last=False)

    async def ask(self, bot: Bot, telegram_id: int) -> bool:
        """Ask Telegram for a user's @username and record the name; False: Telegram gave no answer about the user.

        Raises SQLAlchemy's errors when the database is away.
        """
        try:
            chat = await bot.get_chat(telegram_id)
        except TELEGRAM_ERRORS as error:
            logger.bind(telegram_id=telegram_id).info("Telegram does not tell a @username: {}", in_words(error))
            return False
        await self.write(telegram_id, chat.username)
        return True

    async def find(self, bot: Bot, username: str) -> Found:
        """Find users by a @username, without the @, in any case, after asking Telegram for the name of each.

        Raises SQLAlchemy's errors when the database is away.
        """
        async with self._database.reading() as session:
            before = await find_namesakes(session, username)
        told = [await self.ask(bot, user.telegram_id) for user in before if user.telegram_id is not None]
        ids = [user.id for user in before]
        async with self._database.reading() as session:
            users = (await session.scalars(select(User).where(User.id.in_(ids)).order_by(User.telegram_id))).all()
        have = [user for user in users if (user.username or "").lower() == username.lower()]
        return Found(have, [user for user in users if user not in have], is_sure=all(told))

    async def find_id(self, bot: Bot, telegram_id: int) -> Found:
        """Find a user by the Telegram id, with the present name (@username); raises as find."""
        async with self._database.reading() as session:
            is_known = await find_user(session, telegram_id) is not None
        if is_known:
            await self.ask(bot, telegram_id)
        async with self._database.reading() as session:
            user = await find_user(session, telegram_id)
        return Found([user] if user else [], [])

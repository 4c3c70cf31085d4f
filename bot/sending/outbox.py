"""The outbox: sends recorded notices at least once, in order per chat, within Telegram's limits.

A message may come twice only when a crash falls between Telegram's answer and our commit.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from aiogram import Bot
from aiogram.exceptions import ClientDecodeError, TelegramForbiddenError, TelegramMigrateToChat, TelegramRetryAfter
from aiogram.methods import SendMessage
from aiogram.types import InlineKeyboardMarkup
from loguru import logger
from sqlalchemy import Update, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from bot.chat.moved_chats import find_moved, log_moved, note_moved, owe_moved
from bot.chat.talk import in_topic
from bot.sending.pace import Pace
from db.clock import Clock
from db.engine import Database
from db.limits import ERROR_LENGTH_MAX
from db.retry import retry_transaction
from db.tables import OutboxMessage, StripeEvent, User
from db.timings import PRODUCTION
from payments.loop import AWAY_ATTEMPTS_MAX, DueLoop, backoff, where_due
from payments.notices import REPLIES, Admins, Notice, owe
from payments.telegram_errors import TELEGRAM_ERRORS, Fate, TelegramError, fate_of, in_words, is_refusal

if TYPE_CHECKING:
    from loguru import Logger

BATCH_MAX: Final = 50
UNRENDERED_MAX: Final = 1_000

Render = Callable[[Notice, dict[str, Any], str | None], str]
"""Renders the words of a notice from its facts, in a language (an IETF tag, or None)."""

Keyboard = Callable[[Notice, dict[str, Any], str | None], InlineKeyboardMarkup | None]
"""Renders the buttons below a notice, from the same facts."""


@dataclass(frozen=True, slots=True)
class _DueMessage:
    """A due row of the outbox, with its reader's language and its payment."""

    id: int
    event_id: str
    due_at: datetime | None
    kind: str
    chat_id: int
    topic_id: int | None
    facts: dict[str, Any]
    language_code: str | None
    attempts: int
    event_type: str | None
    user_id: str | None
    """The user of its event, by `users.id`; None: it is about no payment."""


class Outbox:
    """The due messages, and the loop that sends them."""

    def __init__(
        self,
        bot: Bot,
        database: Database,
        render: Render,
        clock: Clock,
        keyboard: Keyboard,
        admins: Admins,
        pace: Pace,
        idle_seconds: float = PRODUCTION.loop_idle_seconds,
    ) -> None:
        """Make the outbox; the admins hear of undeliverable messages."""
        self._bot = bot
        self._database = database
        self._render = render
        self._clock = clock
        self._keyboard = keyboard
        self._admins = admins
        # The new ids of groups that became supergroups and have messages due.
        self._moved: dict[int, int] = {}
        self._pace = pace
        # Messages that Telegram took while the database could not note it: this process does not send them again.
        self._sent_unnoted: set[tuple[int, datetime | None]] = set()
        # Messages that a bug kept from being rendered: they are retried, and newer ones of their chats do not wait.
        self._unrendered: set[int] = set()
        self.loop = DueLoop("outbox", self.deliver_once, idle_seconds)

    async def deliver_once(self) -> int:
        """Send the oldest due message of each chat, at most 50; return how many it tried.

        1. Read the due messages that have no older one before them in their chat.
        2. Skip chats that rest after a message, or that Telegram asks to leave alone.
        3. Pass a message on to the new id of a group that became a supergroup.
        4. Render and send the message; record its sending, or retry it later with a growing backoff.
        5. Give a message up when Telegram refuses it, and tell the admins.

        Raises SQLAlchemy's errors when the database is away.
        """
        tried = 0
        due = await self._due()
        await self._learn_moved(due)
        for message in due:
            if self.loop.is_stopping:
                break
            self.loop.beat()
            left_seconds = self._pace.left_seconds(message.chat_id)
            if left_seconds > 0:
                self.loop.rest_at_most(left_seconds)
                continue
            moved_to = self._moved.get(message.chat_id)
            await (self._deliver(message) if moved_to is None else self._move(message, moved_to))
            tried += 1
        return tried

    async def _due(self) -> Sequence[_DueMessage]:
        older = aliased(OutboxMessage)
        waits_behind = (
            select(older.id)
            .where(older.chat_id == OutboxMessage.chat_id, older.id < OutboxMessage.id, older.due_at.is_not(None))
            .where(older.id.not_in(self._unrendered))
        )
        query = (
            select(OutboxMessage, User.language_code, StripeEvent.event_type, StripeEvent.customer_id)
            .outerjoin(User, User.telegram_id == OutboxMessage.chat_id)
            .outerjoin(StripeEvent, StripeEvent.event_id == OutboxMessage.event_id)
            .where(where_due(OutboxMessage.due_at, self._clock()), ~waits_behind.exists())
            .order_by(OutboxMessage.due_at, OutboxMessage.id)
            .limit(BATCH_MAX)
        )
        async with self._database.reading() as session:
            return [
                _DueMessage(
                    *(row.id, row.event_id, row.due_at, row.kind, row.chat_id, row.topic_id),
                    *(json.loads(row.facts), language_code, row.attempts, *about),
                )
                for row, language_code, *about in await session.execute(query)
            ]

    async def _learn_moved(self, due: Sequence[_DueMessage]) -> None:
        groups = {message.chat_id for message in due if message.chat_id < 0} | {*self._admins.chat_ids}
        if due:
            async with self._database.reading() as session:
                self._moved |= await find_moved(session, groups)

    async def _send(self, message: _DueMessage, text: str, keyboard: InlineKeyboardMarkup | None) -> None:
        async def send(topic_id: int | None) -> None:
            call = SendMessage(chat_id=message.chat_id, text=text, reply_markup=keyboard, message_thread_id=topic_id)
            async with self._pace.limiter:
                try:
                    await self._bot(call)
                except ClientDecodeError as error:
                    # Telegram took the message, whatever its answer looks like.
                    if fate_of(error) is not Fate.DONE:
                        raise

        is_alert = message.chat_id in self._admins.chat_ids and message.kind not in REPLIES
        await in_topic(self._admins.topic_id if is_alert else message.topic_id, send)

    async def _deliver(self, message: _DueMessage) -> None:
        """Render and send a message, and record its sending; an error postpones it, or `_resolve_error` decides."""
        if (message.id, message.due_at) in self._sent_unnoted:
            await self._close(message, None, is_sent=True)
            return
        try:
            about = Notice(message.kind), message.facts, message.language_code
            text, keyboard = self._render(*about), self._keyboard(*about)
            self._unrendered.discard(message.id)
            self._pace.wrote(message.chat_id)
            await self._send(message, text, keyboard)
        except TELEGRAM_ERRORS as error:
            await self._resolve_error(message, error)
        except Exception as error:  # noqa: BLE001 - one notice's bug must not hold up the others
            _bound(message).opt(exception=error).error("a message cannot be rendered")
            if len(self._unrendered) < UNRENDERED_MAX:
                self._unrendered.add(message.id)
            await self._postpone(message, f"{type(error).__name__}: {error}")
        else:
            self._sent_unnoted.add((message.id, message.due_at))
            await self._close(message, None, is_sent=True)
            _bound(message).info("sent: {}", message.kind)

    async def _resolve_error(self, message: _DueMessage, error: TelegramError) -> None:
        """Resolve Telegram's error for a message: keep the pause, follow the group, give the message up, or retry."""
        if isinstance(error, TelegramRetryAfter):
            _bound(message).warning("Telegram asks for a pause of {} s", error.retry_after)
            self._pace.pause.ask(error.retry_after)
            return
        if isinstance(error, TelegramMigrateToChat):
            if error.migrate_to_chat_id == message.chat_id:
                # A move to the same id would close the message, and every one behind it, unsent.
                await self._postpone(message, in_words(error))
            else:
                log_moved(error.migrate_to_chat_id)
                await self._move(message, error.migrate_to_chat_id)
            return
        if is_refusal(error):
            _bound(message).warning("a message cannot be delivered: {}", error.message)
            await self._give_up(message, error.message, is_wanted=not isinstance(error, TelegramForbiddenError))
        else:
            await self._postpone(message, in_words(error))

    async def _close(self, message: _DueMessage, error: str | None, *, is_sent: bool) -> None:
        await self._note(message, due_at=None, sent_at=self._clock() if is_sent else None, error=error)
        self._sent_unnoted.discard((message.id, message.due_at))

    @retry_transaction
    async def _give_up(self, message: _DueMessage, error: str, *, is_wanted: bool) -> None:
        """Close an undeliverable message, and owe the admins its notice, once a day for each chat.

        A buyer who blocked the bot is no news; an admin whom the bot cannot reach is. An undeliverable alert of this
        kind owes no other, because such alerts would breed.
        """
        self._unrendered.discard(message.id)
        async with self._database.transaction() as session:
            await session.execute(_update_of(message).values(due_at=None, error=error))
            if (is_wanted or message.chat_id in self._alert_chats()) and message.kind != Notice.UNDELIVERED:
                await self._alert(session, message, error)

    def _alert_chats(self) -> Sequence[int]:
        return [self._moved.get(chat_id, chat_id) for chat_id in self._admins.chat_ids]

    async def _alert(self, session: AsyncSession, message: _DueMessage, error: str) -> None:
        now = self._clock()
        about = message.facts.get("charge_id") or message.facts.get("retry_id") or message.event_id
        others = [chat_id for chat_id in self._alert_chats() if chat_id != message.chat_id]
        for chat_id in others or [admin_id for admin_id in self._admins.ids if admin_id != message.chat_id]:
            await owe(
                session,
                Notice.UNDELIVERED,
                event_id=f"undelivered:{message.chat_id}:{now:%Y-%m-%d}",
                chat_id=chat_id,
                facts={"reader": message.chat_id, "about": about, "why": error[:ERROR_LENGTH_MAX]},
                now=now,
            )

    async def _postpone(self, message: _DueMessage, error: str) -> None:
        attempts = message.attempts + 1
        if attempts >= AWAY_ATTEMPTS_MAX:
            logger.bind(chat_id=message.chat_id, notice=message.kind).error("a message is given up: {}", error)
            await self._give_up(message, error, is_wanted=True)
            return
        due_at = self._clock() + backoff(attempts, random.random())  # noqa: S311 - jitter
        await self._note(message, attempts=attempts, error=error, due_at=due_at)

    @retry_transaction
    async def _move(self, message: _DueMessage, chat_id: int) -> None:
        """Move a message to another chat; close it if that chat has the same message."""
        there = aliased(OutboxMessage)
        is_there = select(there.id).where(
            there.event_id == OutboxMessage.event_id, there.kind == OutboxMessage.kind, there.chat_id == chat_id
        )
        elsewhere = {"chat_id": chat_id, "topic_id": None}
        async with self._database.transaction() as session:
            moved = await session.scalar(
                _update_of(message).where(~is_there.exists()).values(elsewhere).returning(OutboxMessage.id)
            )
            await note_moved(session, message.chat_id, chat_id, self._clock)
            if message.chat_id in self._admins.chat_ids:
                await owe_moved(session, message.chat_id, chat_id, self._clock)
        self._moved[message.chat_id] = chat_id
        # The group is there, so an older move away from this id is over.
        self._moved.pop(chat_id, None)
        if moved is None:
            await self._close(message, f"the chat is now {chat_id}, which has this message of its own", is_sent=False)

    @retry_transaction
    async def _note(self, message: _DueMessage, **values: object) -> None:
        """Record a message's result, unless somebody has owed the message again, with other facts."""
        async with self._database.transaction() as session:
            await session.execute(_update_of(message).values(values))


def _bound(message: _DueMessage) -> "Logger":
    """Return a log whose lines name the chat of a message, and the payment that it is about."""
    return logger.bind(
        charge_id=message.facts.get("charge_id"),
        event_type=message.event_type,
        user_id=message.user_id,
        chat_id=message.chat_id,
        notice=message.kind,
    )


def _update_of(message: _DueMessage) -> Update:
    """Return an UPDATE of a message's row, which misses the row once somebody has owed the message again."""
    return update(OutboxMessage).where(OutboxMessage.id == message.id, OutboxMessage.due_at == message.due_at)

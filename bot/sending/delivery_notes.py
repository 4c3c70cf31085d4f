"""Notes of delivered messages on their rows: what was sent in groups, every other outcome by itself.

A note misses the row of a message that somebody has owed again, because its `due_at` is another one.
"""

import random
from collections.abc import Sequence
from typing import Any, Final

from loguru import logger
from sqlalchemy import Update, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from bot.chat.moved_chats import find_moved, note_moved, owe_moved
from bot.sending.delivery import Failed, Moved, Outcome, Paused, Refused, Sent
from bot.sending.due_messages import DueMessage
from db.clock import Clock
from db.engine import Database
from db.limits import ERROR_LENGTH_MAX
from db.retry import retry_transaction
from db.tables import OutboxMessage
from payments.loop import backoff
from payments.notices import Admins, Notice, owe

_there = aliased(OutboxMessage)
_NOTE: Final = update(OutboxMessage).where(
    OutboxMessage.id == bindparam("row_id"), OutboxMessage.due_at == bindparam("row_due_at")
)
"""Misses a row that somebody has owed again; its SET has the values that stand beside the row's id and time."""
_MOVE: Final = _NOTE.where(
    ~select(_there.id)
    .where(
        _there.event_id == OutboxMessage.event_id,
        _there.kind == OutboxMessage.kind,
        _there.chat_id == bindparam("new_chat_id"),
    )
    .exists()
)
_CLOSE_LEFT: Final = _NOTE.where(OutboxMessage.chat_id == bindparam("old_chat_id"))
"""Closes a message that `_MOVE` has left in its old chat."""


class DeliveryNotes:
    """Writes the outcomes of deliveries to the database; the admins hear of undeliverable messages."""

    def __init__(self, database: Database, clock: Clock, admins: Admins) -> None:
        self._database = database
        self._clock = clock
        self._admins = admins

    @retry_transaction
    async def note_sent(self, messages: Sequence[DueMessage]) -> None:
        """Note messages as sent, all in one transaction. Raises SQLAlchemy's errors when the database is away."""
        values = {"due_at": None, "sent_at": self._clock(), "error": None}
        # In the order of ids, so that two writers of the same rows never wait for each other.
        rows = [_row(message) | values for message in sorted(messages, key=lambda message: message.id)]
        async with self._database.transaction() as session:
            await _write(session, _NOTE, rows)

    async def note(self, message: DueMessage, outcome: Outcome) -> None:
        """Note the outcome of a message that was not sent; raises as note_sent."""
        match outcome:
            case Failed(error):
                await self._postpone(message, _storable(error))
            case Refused(error, is_wanted):
                await self._give_up(message, _storable(error), is_wanted=is_wanted)
            case Moved(chat_id):
                await self._move(message, chat_id)
            case Paused() | Sent():
                pass

    async def _postpone(self, message: DueMessage, error: str) -> None:
        attempts = message.attempts + 1
        if message.is_last_attempt:
            logger.bind(chat_id=message.chat_id, notice=message.kind).error("a message is given up: {}", error)
            await self._give_up(message, error, is_wanted=True)
            return
        due_at = self._clock() + backoff(attempts, random.random())  # noqa: S311 - jitter
        await self._change(message, attempts=attempts, error=error, due_at=due_at)

    @retry_transaction
    async def _change(self, message: DueMessage, **values: object) -> None:
        async with self._database.transaction() as session:
            await _write(session, _NOTE, [_row(message) | values])

    @retry_transaction
    async def _give_up(self, message: DueMessage, error: str, *, is_wanted: bool) -> None:
        """Close an undeliverable message, and owe the admins its notice, once a day for each chat.

        A buyer who blocked the bot is no news; an admin whom the bot cannot reach is. An undeliverable alert of this
        kind owes no other, because such alerts would breed.
        """
        async with self._database.transaction() as session:
            await _write(session, _NOTE, [_row(message) | {"due_at": None, "error": error}])
            if message.kind == Notice.UNDELIVERED:
                return
            moved = await find_moved(session, self._admins.chat_ids)
            alert_chats = [moved.get(chat_id, chat_id) for chat_id in self._admins.chat_ids]
            if is_wanted or message.chat_id in alert_chats:
                await self._alert(session, message, error, alert_chats)

    async def _alert(self, session: AsyncSession, message: DueMessage, error: str, alert_chats: Sequence[int]) -> None:
        now = self._clock()
        about = message.facts.get("charge_id") or message.facts.get("retry_id") or message.event_id
        others = [chat_id for chat_id in alert_chats if chat_id != message.chat_id]
        for chat_id in others or [admin_id for admin_id in self._admins.ids if admin_id != message.chat_id]:
            await owe(
                session,
                Notice.UNDELIVERED,
                event_id=f"undelivered:{message.chat_id}:{now:%Y-%m-%d}",
                chat_id=chat_id,
                facts={"reader": message.chat_id, "about": about, "why": error[:ERROR_LENGTH_MAX]},
                now=now,
            )

    @retry_transaction
    async def _move(self, message: DueMessage, chat_id: int) -> None:
        """Move a message to another chat; close it if that chat has the same message."""
        elsewhere = {"new_chat_id": chat_id, "chat_id": chat_id, "topic_id": None}
        closed = {"due_at": None, "error": f"the chat is now {chat_id}, which has this message of its own"}
        async with self._database.transaction() as session:
            await _write(session, _MOVE, [_row(message) | elsewhere])
            await note_moved(session, message.chat_id, chat_id, self._clock)
            if message.chat_id in self._admins.chat_ids:
                await owe_moved(session, message.chat_id, chat_id, self._clock)
            await _write(session, _CLOSE_LEFT, [_row(message) | {"old_chat_id": message.chat_id} | closed])


def _storable(error: str) -> str:
    """Return an error's text with NUL and lone surrogates escaped, because a refused note would end the loop."""
    return error.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")


def _row(message: DueMessage) -> dict[str, Any]:
    return {"row_id": message.id, "row_due_at": message.due_at}


async def _write(session: AsyncSession, statement: Update, rows: Sequence[dict[str, Any]]) -> None:
    """Run an UPDATE for each row's values, in one visit to the database."""
    await (await session.connection()).execute(statement, rows)

"""The outbox: sends recorded notices at least once, many chats side by side, in order per chat, at Telegram's pace.

A message may come twice only when a crash falls between Telegram's answer and our commit: that repeats at most the
UNDER_WAY_MAX messages that are under way.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from aiogram import Bot
from loguru import logger

from bot.sending.delivery import Delivery, Keyboard, Outcome, Render, Sent
from bot.sending.delivery_notes import DeliveryNotes
from bot.sending.due_messages import DueMessage, read_due
from bot.sending.pace import Pace
from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.timings import PRODUCTION
from payments.loop import DueLoop
from payments.notices import Admins

UNDER_WAY_MAX: Final = 100
"""The messages between the begin of their call and the note of its outcome: at 1000 a second, calls of 100 ms."""
NOTE_SECONDS: Final = 0.05
"""The longest wait of an outcome for those of other calls under way: one commit then notes them all."""

FINISH_TRIES_MAX: Final = 3
"""Tries of a stop to note what is sent; with lock waits of 1.5 s they fit into the stop's 8 s (db/timings.py)."""
FINISH_PAUSE_SECONDS: Final = 0.5


class Outbox:
    """The due messages, and the loop that sends them.

    A chat is busy from the begin of its message's call to the note of the outcome, and has no other call meanwhile. So
    this process sends no message again that Telegram took while the database could not note it, and a call that hangs
    holds up its own chat alone.
    """

    def __init__(  # noqa: PLR0913 - all parts of a delivery, wired in one place
        self,
        bot: Bot,
        database: Database,
        render: Render,
        clock: Clock,
        keyboard: Keyboard,
        admins: Admins,
        pace: Pace,
        idle_seconds: float = PRODUCTION.loop_idle_seconds,
        *,
        under_way_max: int = UNDER_WAY_MAX,
        note_seconds: float = NOTE_SECONDS,
    ) -> None:
        """Make the outbox; the admins hear of undeliverable messages."""
        self._under_way_max = under_way_max
        self._note_seconds = note_seconds
        self._database = database
        self._clock = clock
        self._pace = pace
        self._delivery = Delivery(bot, render, keyboard, admins, pace)
        self._notes = DeliveryNotes(database, clock, admins)
        self._busy: set[int] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._outcomes: list[tuple[DueMessage, Outcome]] = []
        self._noting = asyncio.Lock()
        self._note_soon: asyncio.Task[None] | None = None
        # The database was away at the latest note.
        self._is_note_owed = False
        # Messages wait behind a busy chat, or for room: the next note wakes the loop.
        self._is_more_behind = False
        self.loop = DueLoop("outbox", self._work_once, idle_seconds)

    async def run(self) -> None:
        """Send what is due until the loop stops, then wait for the calls under way, and note their outcomes."""
        try:
            try:
                await self.loop.run()
            except Exception:
                # A bug ends the loop; the messages under way are noted all the same, lest the next start repeat them.
                try:
                    await self._finish()
                except Exception as error:  # noqa: BLE001 - the bug that ended the loop is the one to raise
                    logger.opt(exception=error).error("the messages under way were not all noted")
                raise
            await self._finish_patiently()
        except Exception as error:
            if not is_away(error):
                raise
            logger.warning("stopping: the database is away, so the next start repeats {} messages", len(self._outcomes))
        finally:
            tasks = [*self._calls, *([self._note_soon] if self._note_soon else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def deliver_once(self) -> int:
        """Send due messages, at most one of each chat, and wait for their outcomes; return how many.

        The loop does not wait for the outcomes. Raises SQLAlchemy's errors when the database is away.
        """
        begun, _ = await self._begin_due()
        await self._finish()
        return begun

    async def _work_once(self) -> int:
        begun, is_more_due = await self._begin_due()
        return begun if is_more_due else 0

    async def _begin_due(self) -> tuple[int, bool]:
        """Begin the calls of due messages; return how many, and whether more may be due.

        1. Note the outcomes that the database did not take last time: without it nothing more goes out.
        2. Read the oldest due message of each chat, the most urgent chats first.
        3. Leave out chats that are busy, that rest after a message, or that Telegram asks to leave alone.
        4. Begin each of the others in its turn by the pace of all messages.
        """
        if self._is_note_owed:
            await self._note_outcomes()
        # A second's messages, because a more urgent one waits for the next look.
        room = min(self._pace.messages_per_second, self._under_way_max - len(self._busy))
        if room <= 0:
            self._is_more_behind = True
            return 0, False
        # Chats that are left out do not take the places of others, nor do several unrendered messages of one chat.
        messages_max = room + len(self._busy) + self._pace.resting_count() + len(self._delivery.unrendered)
        # A message of theirs may be noted while this look goes on, which has read it before and would send it again.
        busy = frozenset(self._busy)
        async with self._database.reading() as session:
            due = await read_due(session, self._clock(), self._delivery.unrendered, messages_max)
        begun = 0
        for message in due:
            if begun == room:
                break
            self.loop.beat()
            if message.chat_id in busy:
                self._look_after_note(message.chat_id)
                continue
            if not self._may_go(message):
                continue
            await self._pace.limiter.acquire()
            # A stop or a pause may have begun while the message waited for its turn.
            if self._may_go(message):
                self._begin(message)
                begun += 1
        return begun, len(due) == messages_max or begun == room

    def _look_after_note(self, chat_id: int) -> None:
        """Let the loop look again when the message under way in a chat is noted; now, if it is noted already."""
        if chat_id in self._busy:
            self._is_more_behind = True
        else:
            self.loop.wake()

    def _may_go(self, message: DueMessage) -> bool:
        if message.chat_id in self._busy:
            self._is_more_behind = True
            return False
        if self.loop.is_stopping:
            return False
        left_seconds = self._pace.left_seconds(message.chat_id)
        if left_seconds > 0:
            self.loop.rest_at_most(left_seconds)
        return left_seconds <= 0

    def _begin(self, message: DueMessage) -> None:
        self._is_more_behind |= not message.is_last
        self._busy.add(message.chat_id)
        call = asyncio.create_task(self._deliver(message))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _deliver(self, message: DueMessage) -> None:
        outcome = await self._delivery.deliver(message)
        self._outcomes.append((message, outcome))
        if self._note_soon is None or self._note_soon.done():
            self._note_soon = asyncio.create_task(self._note_together())

    async def _note_together(self) -> None:
        """Note the outcomes of all calls that end within NOTE_SECONDS; without other calls, at once."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=self._note_seconds)
        # The loop's next look notes them again, and raises the error.
        with contextlib.suppress(Exception):
            await self._note_outcomes()

    async def _note_outcomes(self) -> None:
        """Note every outcome, what was sent in one transaction, and free the chats; raises as deliver_once."""
        async with self._noting:
            while self._outcomes:
                self._is_note_owed = True
                try:
                    await self._note_group(list(self._outcomes))
                except Exception as error:
                    if not is_away(error):
                        await self._note_each(list(self._outcomes))
                    raise
            self._is_note_owed = False
        if self._is_more_behind:
            self._is_more_behind = False
            self.loop.wake()

    async def _note_group(self, outcomes: Sequence[tuple[DueMessage, Outcome]]) -> None:
        sent = [message for message, outcome in outcomes if isinstance(outcome, Sent)]
        if sent:
            await self._notes.note_sent(sent)
            self._forget(sent)
        for message, outcome in outcomes:
            if not isinstance(outcome, Sent):
                await self._notes.note(message, outcome)
                self._is_more_behind = True
                self._forget([message])

    async def _note_each(self, outcomes: Sequence[tuple[DueMessage, Outcome]]) -> None:
        """Note what the database takes, each outcome by itself, because one that it refuses takes no others along."""
        for each in outcomes:
            with contextlib.suppress(Exception):
                await self._note_group([each])

    def _forget(self, noted: Sequence[DueMessage]) -> None:
        ids = {message.id for message in noted}
        self._outcomes = [each for each in self._outcomes if each[0].id not in ids]
        self._busy -= {message.chat_id for message in noted}

    async def _finish_patiently(self) -> None:
        """Finish, and try again when the database is away for a moment, because else the next start repeats messages.

        Raises as deliver_once.
        """
        for _ in range(FINISH_TRIES_MAX - 1):
            try:
                await self._finish()
            except Exception as error:
                if not is_away(error):
                    raise
                logger.info("stopping: the notes of {} messages are tried again", len(self._outcomes))
                await asyncio.sleep(FINISH_PAUSE_SECONDS)
            else:
                return
        await self._finish()

    async def _finish(self) -> None:
        """Wait for the calls under way and note their outcomes; raises as deliver_once."""
        while self._calls:
            await asyncio.wait(self._calls)
        if self._note_soon is not None:
            await asyncio.wait({self._note_soon})
        await self._note_outcomes()

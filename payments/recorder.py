"""Records what bears money in a batch of raw updates, within a deadline, before Telegram is told that it arrived."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from loguru import logger

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_away
from payments import events
from payments.errors import UnreadableMoneyError
from payments.incoming import MoneyFact, read_money
from payments.quarantine import quarantine

RECORD_SECONDS: Final = 2.0
REASON_LENGTH_MAX: Final = 500
"""A database's own words may be long, and an admin's message is at most 4,096 characters (Bot API, sendMessage)."""

RawUpdate = Mapping[str, Any]
Facts = dict[int, MoneyFact]


class Recorder:
    """The door to the audit table for updates. One write is in flight at most."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        alert_chat_ids: Sequence[int],
        record_seconds: float = RECORD_SECONDS,
        ensure_active: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare; `ensure_active` is asked before each write, and raises when this is no longer the active desk."""
        self._database = database
        self._clock = clock
        self._alert_chat_ids = tuple(alert_chat_ids)
        self._record_seconds = record_seconds
        self._ensure_active = ensure_active
        self._writing: asyncio.Task[Facts] | None = None
        self._is_away = False

    async def record(self, money: Sequence[RawUpdate]) -> Facts | None:
        """Commit the audit rows of a batch; return what was read, by update id.

        None: the database did not take them in time, and nothing may be confirmed. What cannot be read, and what the
        database refuses, is in quarantine instead, and missing from the answer. Raises what `ensure_active` raises.
        """
        if self._writing is not None:
            if not await self._is_done(self._writing):
                self._note_away("a write hangs")
                return None
            # However it ended, its batch is written again; asyncio complains of an error that nobody looks at.
            self._writing.exception()
        self._writing = asyncio.create_task(self._write(money))
        if not await self._is_done(self._writing):
            self._note_away("no answer in time")
            return None
        task, self._writing = self._writing, None
        error = task.exception()
        if error is not None and is_away(error):
            self._note_away(type(error).__name__)
            return None
        facts = task.result()
        if self._is_away:
            self._is_away = False
            logger.info("the database is back: payments are recorded and confirmed again")
        return facts

    async def close(self) -> None:
        """Wait for a write that is in flight, as long as a deadline."""
        if self._writing is not None:
            await self._is_done(self._writing)

    async def _is_done(self, task: asyncio.Task[Facts]) -> bool:
        # asyncio.wait_for would cancel the write and wait for the database to hear of it.
        done, _ = await asyncio.wait({task}, timeout=self._record_seconds)
        return bool(done)

    def _note_away(self, why: str) -> None:
        if not self._is_away:
            self._is_away = True
            logger.error("the database is away ({}): payments wait, unconfirmed, at Telegram", why)

    async def _write(self, money: Sequence[RawUpdate]) -> Facts:
        """Record the batch in one transaction; if something in it is refused, each update in one of its own."""
        if self._ensure_active is not None:
            await self._ensure_active()
        try:
            return await self._write_together(money)
        except Exception as error:
            if is_away(error):
                raise
        facts: Facts = {}
        for update in money:
            try:
                facts |= await self._write_together([update])
            except Exception as error:
                if is_away(error):
                    raise
                words = f"{type(error).__name__}: {getattr(error, 'orig', error)}"
                await self._quarantine(update, words[:REASON_LENGTH_MAX], error)
        return facts

    async def _write_together(self, money: Sequence[RawUpdate]) -> Facts:
        facts: Facts = {}
        for update in money:
            try:
                facts[update["update_id"]] = read_money(update)
            except UnreadableMoneyError as error:
                await self._quarantine(update, str(error))
        if facts:
            async with self._database.transaction(Priority.INTAKE) as session:
                await events.record(session, list(facts.values()), self._clock())
        for fact in facts.values():
            bound = logger.bind(charge_id=fact.charge_id, telegram_id=fact.person.telegram_id)
            bound.info("recorded: {} of {} {}", fact.kind, fact.amount, fact.currency)
        return facts

    async def _quarantine(self, update: RawUpdate, reason: str, error: Exception | None = None) -> None:
        bound = logger.bind(update_id=update["update_id"]).opt(exception=error)
        bound.error("an update that bears money is in quarantine: {}", reason)
        async with self._database.transaction(Priority.INTAKE) as session:
            await quarantine(session, update, reason, self._alert_chat_ids, self._clock())

"""Records what bears money in a batch of raw updates, within a deadline, before Telegram is told that it arrived."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from loguru import logger

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_away, is_held_up
from db.retry import retry_transaction
from db.timings import PRODUCTION
from payments.audit import events, transitions
from payments.audit.facts import Fact, SubscriptionFact
from payments.errors import UnreadableMoneyError
from payments.notices import Admins
from payments.recording.quarantine import quarantine
from payments.recording.updates import read_money

RawUpdate = Mapping[str, Any]
Taken = dict[int, Fact | None]


class Recorder:
    """The door to the audit table for updates. One write is in flight at most."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        admins: Admins,
        record_seconds: float = PRODUCTION.record_seconds,
        ensure_active: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare; `ensure_active` is asked before each write, and raises when this is no longer the active desk."""
        self._database = database
        self._clock = clock
        self._admins = admins
        self._record_seconds = record_seconds
        self._ensure_active = ensure_active
        self._writing: asyncio.Task[Taken] | None = None
        self._taken: Taken = {}
        self.trouble: str | None = None
        """What keeps payments from being recorded; None: nothing."""

    async def record(self, money: Sequence[RawUpdate]) -> Taken:
        """Commit the audit rows of a batch within the deadline; return what is on record, by update id.

        None stands for an update that cannot be read, or that the database refuses: it is in quarantine. An update that
        is missing is not on record yet, and may not be confirmed. Raises what `ensure_active` raises.
        """
        deadline = asyncio.get_running_loop().time() + self._record_seconds
        await self._collect(deadline)
        rest = [update for update in money if update["update_id"] not in self._taken]
        if rest and self._writing is None:
            self._writing = asyncio.create_task(self._write(rest))
            await self._collect(deadline)
        ids = {update["update_id"] for update in money}
        taken = {update_id: fact for update_id, fact in self._taken.items() if update_id in ids}
        if len(taken) == len(ids):
            self._taken = {}
            self._note_back()
        return taken

    async def close(self) -> None:
        """Wait for a write that is in flight, as long as a deadline."""
        await self._collect(asyncio.get_running_loop().time() + self._record_seconds)

    async def _collect(self, deadline: float) -> None:
        """Wait for the write in flight until the deadline; what one that came late has written counts."""
        if self._writing is None:
            return
        # asyncio.wait_for would cancel the write and wait for the database to hear of it.
        done, _ = await asyncio.wait({self._writing}, timeout=max(0, deadline - asyncio.get_running_loop().time()))
        if not done:
            self._note_away("no answer in time")
            return
        task, self._writing = self._writing, None
        error = task.exception()
        if error is not None and is_away(error):
            self._note_away(type(error).__name__)
        else:
            self._taken |= task.result()

    def _note_away(self, why: str) -> None:
        if self.trouble is None:
            self.trouble = f"the database is away ({why}): payments wait, unconfirmed, at Telegram"
            logger.error(self.trouble)

    def _note_back(self) -> None:
        if self.trouble is not None:
            self.trouble = None
            logger.info("the database is back: payments are recorded and confirmed again")

    async def _write(self, money: Sequence[RawUpdate]) -> Taken:
        """Record the batch in one transaction; if something in it is refused or held up, each update in its own."""
        if self._ensure_active is not None:
            await self._ensure_active()
        # One alone would wait twice for the same lock, and past the deadline.
        if len(money) > 1:
            try:
                return await self._write_together(money)
            except Exception as error:
                if is_away(error) and not is_held_up(error):
                    raise
        taken: Taken = {}
        held_up: set[int] = set()
        for update in money:
            payer_id = _payer_id(update)
            if payer_id in held_up:
                continue
            try:
                taken |= await self._write_together([update])
            except Exception as error:
                if is_held_up(error):
                    self._note_away("somebody holds a lock")
                    held_up.add(payer_id)
                elif is_away(error):
                    raise
                else:
                    words = f"{type(error).__name__}: {getattr(error, 'orig', error)}"
                    await self._quarantine(update, words[: transitions.ERROR_LENGTH_MAX], error)
                    taken[update["update_id"]] = None
        return taken

    async def _write_together(self, money: Sequence[RawUpdate]) -> Taken:
        facts: dict[int, Fact] = {}
        unreadable: Taken = {}
        for update in money:
            try:
                facts[update["update_id"]] = read_money(update)
            except UnreadableMoneyError as error:
                await self._quarantine(update, str(error))
                unreadable[update["update_id"]] = None
        user_ids: dict[int, str] = {}
        if facts:
            user_ids = await self._put_on_record(list(facts.values()))
        for fact in facts.values():
            telegram_id = fact.person.telegram_id
            bound = logger.bind(
                charge_id=fact.charge_id,
                event_type=fact.event_type,
                telegram_id=telegram_id,
                user_id=user_ids[telegram_id],
            )
            if isinstance(fact, SubscriptionFact):
                bound.info("recorded: {} {}", fact.kind, fact.state)
            else:
                bound.info("recorded: {} of {} {}", fact.kind, fact.amount, fact.currency)
        return unreadable | facts

    @retry_transaction
    async def _put_on_record(self, facts: list[Fact]) -> dict[int, str]:
        async with self._database.transaction(Priority.INTAKE) as session:
            return await events.record(session, facts, self._clock())

    async def _quarantine(self, update: RawUpdate, reason: str, error: Exception | None = None) -> None:
        bound = logger.bind(update_id=update["update_id"]).opt(exception=error)
        bound.error("an update that bears money is in quarantine: {}", reason)
        await self._keep_raw(update, reason)

    @retry_transaction
    async def _keep_raw(self, update: RawUpdate, reason: str) -> None:
        async with self._database.transaction(Priority.INTAKE) as session:
            await quarantine(session, update, reason, self._admins, self._clock())


def _payer_id(update: RawUpdate) -> int:
    """Return whose row the recording of an update locks; 0 for one that cannot be read, which locks none."""
    try:
        return read_money(update).person.telegram_id
    except UnreadableMoneyError:
        return 0

"""The recorder: records the payments in a batch of updates within a deadline, before the poll confirms the batch."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loguru import logger

from db.clock import Clock
from db.engine import Database, Priority
from db.errors import is_away, is_held_up
from db.limits import ERROR_LENGTH_MAX
from db.retry import retry_transaction
from db.timings import PRODUCTION
from payments.audit import fact_rows
from payments.audit.facts import Fact, SubscriptionFact
from payments.errors import UnreadableMoneyError
from payments.notices import Admins
from payments.recording.quarantine import quarantine_update
from payments.recording.updates import read_fact

RawUpdate = Mapping[str, Any]
RecordedFacts = dict[int, Fact | None]


@dataclass(frozen=True, slots=True)
class _ReadUpdate:
    """An update and the fact in it, read once for all tries to record it."""

    update: RawUpdate
    fact: Fact | None
    """None: the update is unreadable."""
    why_unreadable: str = ""

    @property
    def payer_id(self) -> int:
        """The Telegram id of the user whose row the recording locks; 0: the update is unreadable and locks none."""
        return 0 if self.fact is None else self.fact.person.telegram_id


class Recorder:
    """Records updates in the audit table. At most one write is in flight."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        admins: Admins,
        record_seconds: float = PRODUCTION.record_seconds,
        ensure_active: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare; the recorder calls `ensure_active` before each write, and it raises when another desk is active."""
        self._database = database
        self._clock = clock
        self._admins = admins
        self._record_seconds = record_seconds
        self._ensure_active = ensure_active
        self._writing: asyncio.Task[RecordedFacts] | None = None
        self._taken: RecordedFacts = {}
        self.trouble: str | None = None
        """The reason why the desk cannot record payments; None: it can."""

    async def record(self, money: Sequence[RawUpdate]) -> RecordedFacts:
        """Record a batch of updates that bear money, within the deadline; return the recorded facts by update id.

        1. Wait for a write that an earlier call left in flight; its result counts.
        2. Read each update that is not recorded yet by its narrow model, and start one write of all of them: it commits
           their audit rows in one transaction.
        3. If the database refuses one, or a lock holds one up, write each update in a transaction of its own.
        4. Quarantine an update that is unreadable, or that the database refuses, and tell the admins.
        5. Wait until the deadline; a write that takes longer goes on, and the next call collects it.

        None stands for a quarantined update. A missing update is not on record yet, and the poll must not confirm it.
        Raises the errors of `ensure_active`.
        """
        deadline = asyncio.get_running_loop().time() + self._record_seconds
        await self._wait_for_write(deadline)
        rest = [_read_update(update) for update in money if update["update_id"] not in self._taken]
        if rest and self._writing is None:
            self._writing = asyncio.create_task(self._write_batch(rest))
            await self._wait_for_write(deadline)
        ids = {update["update_id"] for update in money}
        taken = {update_id: fact for update_id, fact in self._taken.items() if update_id in ids}
        if len(taken) == len(ids):
            self._taken = {}
            self._note_recovery()
        return taken

    async def close(self) -> None:
        """Wait for the write in flight, at most as long as a deadline."""
        await self._wait_for_write(asyncio.get_running_loop().time() + self._record_seconds)

    async def _wait_for_write(self, deadline: float) -> None:
        """Wait for the write in flight until the deadline, and collect the facts that it recorded."""
        if self._writing is None:
            return
        # asyncio.wait_for would cancel the write and wait until the database has heard of it.
        done, _ = await asyncio.wait({self._writing}, timeout=max(0, deadline - asyncio.get_running_loop().time()))
        if not done:
            self._note_outage("no answer in time")
            return
        task, self._writing = self._writing, None
        error = task.exception()
        if error is not None and is_away(error):
            self._note_outage(type(error).__name__)
        else:
            self._taken |= task.result()

    def _note_outage(self, why: str) -> None:
        """Note that the database is away, and log it once."""
        if self.trouble is None:
            self.trouble = f"the database is away ({why}): payments wait, unconfirmed, at Telegram"
            logger.error(self.trouble)

    def _note_recovery(self) -> None:
        """Note and log that the database is back."""
        if self.trouble is not None:
            self.trouble = None
            logger.info("the database is back: payments are recorded and confirmed again")

    async def _write_batch(self, money: Sequence[_ReadUpdate]) -> RecordedFacts:
        """Write a batch of updates in one transaction, or each update in its own.

        Each gets its own if the database refuses one of the batch, or a lock holds one up.
        """
        if self._ensure_active is not None:
            await self._ensure_active()
        # A single update would wait twice for the same lock, and past the deadline.
        if len(money) > 1:
            try:
                return await self._write_transaction(money)
            except Exception as error:
                if is_away(error) and not is_held_up(error):
                    raise
        taken: RecordedFacts = {}
        held_up: set[int] = set()
        for read in money:
            if read.payer_id in held_up:
                continue
            try:
                taken |= await self._write_transaction([read])
            except Exception as error:
                if is_held_up(error):
                    self._note_outage("somebody holds a lock")
                    held_up.add(read.payer_id)
                elif is_away(error):
                    raise
                else:
                    words = f"{type(error).__name__}: {getattr(error, 'orig', error)}"
                    await self._quarantine(read.update, words[:ERROR_LENGTH_MAX], error)
                    taken[read.update["update_id"]] = None
        return taken

    async def _write_transaction(self, money: Sequence[_ReadUpdate]) -> RecordedFacts:
        """Record the facts of updates in one transaction; quarantine unreadable updates."""
        facts: dict[int, Fact] = {}
        unreadable: RecordedFacts = {}
        for read in money:
            update_id: int = read.update["update_id"]
            if read.fact is None:
                await self._quarantine(read.update, read.why_unreadable)
                unreadable[update_id] = None
            else:
                facts[update_id] = read.fact
        user_ids: dict[int, str] = {}
        if facts:
            user_ids = await self._record_facts(list(facts.values()))
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
    async def _record_facts(self, facts: list[Fact]) -> dict[int, str]:
        """Record the facts of updates in one transaction; return the users' ids by Telegram id."""
        async with self._database.transaction(Priority.INTAKE) as session:
            return await fact_rows.record(session, facts, self._clock())

    async def _quarantine(self, update: RawUpdate, reason: str, error: Exception | None = None) -> None:
        """Log an update that the desk cannot record, and quarantine it."""
        bound = logger.bind(update_id=update["update_id"]).opt(exception=error)
        bound.error("an update that bears money is in quarantine: {}", reason)
        await self._keep_raw_update(update, reason)

    @retry_transaction
    async def _keep_raw_update(self, update: RawUpdate, reason: str) -> None:
        """Write an update to the quarantine in a transaction of its own."""
        async with self._database.transaction(Priority.INTAKE) as session:
            await quarantine_update(session, update, reason, self._admins, self._clock())


def _read_update(update: RawUpdate) -> _ReadUpdate:
    """Read the fact in an update by its narrow model, or the reason why the update is unreadable."""
    try:
        return _ReadUpdate(update, read_fact(update))
    except UnreadableMoneyError as error:
        return _ReadUpdate(update, None, str(error))

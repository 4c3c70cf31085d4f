"""A shop under faults: people pay and are refunded, and its desk dies at any statement and is made anew.

Everything is in one process and waits for nothing, so that what happens is a function of the steps alone. The desk's
objects are the real ones, on a real database, before the sandbox over real HTTP.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiogram import Bot
from aiogram.types import Update
from sqlalchemy import event, select

from bot.intake import GetRawUpdates
from db.engine import Database
from db.tables import (
    Entitlement,
    EntitlementGrant,
    EventStatus,
    OutboxMessage,
    Outcome,
    StripeEvent,
)
from entitlements import fold
from payments.errors import RefundRefusedError
from payments.incoming import bears_money
from payments.ledger.reconciliation import Reconciliation
from payments.ledger.telegram import TelegramLedger
from payments.methods import STARS
from payments.notices import Notice
from payments.recorder import Recorder
from payments.refunds import asking
from payments.telegram import invoice_of, order_of
from sandbox.charges import Charge
from sandbox.checkout import PaymentState
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer, running_sandbox
from sandbox.shapes import Json
from tests.support.bots import talking_bot
from tests.support.chats import Chats, People, people_of
from tests.support.money import CATALOG, plan
from tests.support.waiting import WAIT_SECONDS

HEALING_ROUNDS_MAX: Final = 100
HOUR_SECONDS: Final = 3600


class DeathError(BaseException):
    """The desk dies here; no handler of errors may survive it."""


class _Life(Chats):
    """One life of the desk's objects. Every statement and commit may be its last (`dies_in`)."""

    def __init__(self, server: SandboxServer, bot: Bot, database: Database, people: People) -> None:
        super().__init__(server.client, server.world.clock.now, bot, database, CATALOG, people)
        self.dies_in = 0
        alert_chat_ids = [people.desk.id]
        self.recorder = Recorder(database, self.clock, alert_chat_ids, record_seconds=WAIT_SECONDS)
        ledger = TelegramLedger(bot)
        self.reconciliation = Reconciliation(
            database, ledger, self.signer, self.clock, alert_chat_ids, on_recovered=lambda: None
        )
        for engine in {each.sync_engine for each in (database._writer, database._reader, database._urgent)}:
            event.listen(engine, "before_cursor_execute", self._step)
            event.listen(engine, "commit", self._step)

    def _step(self, *_: object) -> None:
        if self.dies_in:
            self.dies_in -= 1
            if not self.dies_in:
                raise DeathError

    async def take(self, shuffle: Callable[[list[Json]], None], *, is_handled: bool) -> list[Json]:
        """Fetch, record in any order, and handle in any order, or not; Telegram is told at the next fetch."""
        if not await self.client.updates_waiting():
            return []
        batch = await self.bot(GetRawUpdates(offset=self._offset, timeout=0))
        money = [raw for raw in batch if bears_money(raw)]
        shuffle(money)
        taken = await self.recorder.record(money)
        assert taken.keys() == {raw["update_id"] for raw in money}
        for raw in [raw for raw in batch if not bears_money(raw)] + (money if is_handled else []):
            update = Update.model_validate(raw, context={"bot": self.bot})
            await self._dispatcher.feed_update(self.bot, update, fact=taken.get(raw["update_id"]))
        if batch:
            self._offset = batch[-1]["update_id"] + 1
        return money

    async def work(self) -> int:
        """Do a round of what is due."""
        return await self.worker.work_once() + await self.keeper.work_once()

    async def deliver(self) -> int:
        """Tell what is owed."""
        return await self._outbox.deliver_once()


class Shop:
    """The steps, and what must hold after each of them and at the end."""

    def __init__(self, server: SandboxServer, database_url: str, people: People, steady: Bot) -> None:
        self.client = server.client
        self.buyers = (people.buyer, people.other)
        self._server = server
        self._database_url = database_url
        self._people = people
        self._steady = steady
        self._stack = AsyncExitStack()
        self._told: list[Json] = []
        self.deaths = 0
        self.life: _Life

    async def begin_life(self) -> None:
        """Make the desk's objects anew."""
        database = Database(self._database_url)
        self._stack.push_async_callback(database.dispose)
        bot = await self._stack.enter_async_context(talking_bot(self._server.url, self._server.token))
        self.life = _Life(self._server, bot, database, self._people)
        await self.life.worker.catch_up()

    async def end_life(self) -> None:
        """Throw the desk's objects away."""
        await self._stack.aclose()

    async def crash(self) -> None:
        """End a life in the middle of everything, and begin another one."""
        self.deaths += 1
        await self.end_life()
        await self.begin_life()

    async def mortally(self, step: Callable[[], Awaitable[object]], dies_in: int) -> None:
        """Do a step in which the desk may die at its n-th statement or commit; 0: it lives."""
        self.life.dies_in = dies_in
        try:
            await step()
        except DeathError:
            await self.crash()
        self.life.dies_in = 0

    # What people, Telegram and time do.

    async def pay(self, buyer: int, code: str) -> None:
        """Let a buyer pay an invoice; the pre-checkout is answered, and the payment's update waits."""
        person = self.buyers[buyer]
        sent = await self._steady(invoice_of(plan(code), person.id, order_of(plan(code), person.id), self.life.signer))
        payment = await self.client.start_payment(person.id, message_id=sent.message_id)
        while (await self.client.payment(payment.id)).state is PaymentState.ASKING:
            await self.take(lambda _: None, is_handled=False)

    async def refund_elsewhere(self, which: int) -> None:
        """Let Telegram's support refund a charge."""
        charges = [charge for charge in await self.client.charges() if charge.refunded_at is None]
        if charges:
            await self.client.refund_elsewhere(charges[which % len(charges)].id)

    async def ask_refund(self, which: int) -> None:
        """Let an admin ask for the refund of a charge."""
        charges = await self.client.charges()
        if not charges:
            return
        try:
            async with self.life.database.transaction() as session:
                await asking.ask(
                    session,
                    charges[which % len(charges)].id,
                    reason="as agreed",
                    requested_by="telegram:1",
                    reply_chat_id=self._people.admin.id,
                    now=self.life.clock(),
                )
        except RefundRefusedError:
            return

    async def redeliver(self, which: int) -> None:
        """Let an update that was taken come again, under another id."""
        if self._told:
            await self.client.push_raw(self._told[which % len(self._told)])

    async def take(self, shuffle: Callable[[list[Json]], None], *, is_handled: bool) -> None:
        """Take what waits at Telegram."""
        self._told += await self.life.take(shuffle, is_handled=is_handled)

    async def break_calls(self, method: str, kind: FaultKind) -> None:
        """Let the next call of a method go wrong."""
        await self.client.add_fault(kind, method, retry_after_seconds=30)

    async def reconcile(self) -> None:
        """Compare with Telegram's ledger."""
        await self.life.reconciliation.run()

    # What must hold.

    async def check(self) -> None:
        """Assert what holds at every moment."""
        charges = {charge.id: charge for charge in await self.client.charges()}
        rows = await self._rows()
        settled = [each for each in rows.events if each.status == EventStatus.PROCESSED]
        for each in settled:
            charge = charges[each.refund_of or each.event_id]
            assert (each.amount_cents, each.currency) == (charge.stars, "XTR")
            assert each.refund_of is None or charge.refunded_at is not None
        granted = {each.event_id for each in settled if each.outcome == Outcome.GRANTED}
        sources = Counter(grant.source for grant in rows.grants)
        for source in sources:
            assert source.partition(":")[2] in granted, f"{source} grants without a charge"
        for event_id in granted:
            entitlements = {grant.entitlement_type for grant in rows.grants if grant.source == STARS.source(event_id)}
            assert sources[STARS.source(event_id)] == len(entitlements) > 0
        self._check_fold(rows)
        owed = Counter((each.event_id, each.kind, each.chat_id) for each in rows.outbox)
        assert max(owed.values(), default=1) == 1
        ledger = await self.client.ledger()
        assert max(Counter((row["id"], "source" in row) for row in ledger).values(), default=1) == 1

    def _check_fold(self, rows: "_Rows") -> None:
        of: dict[tuple[str, str], list[fold.Grant]] = {}
        for grant in rows.grants:
            facts = fold.Grant(
                granted_at=grant.granted_at,
                duration_days=grant.duration_days,
                ends_at=grant.ends_at,
                revoked_at=grant.revoked_at,
            )
            of.setdefault((grant.user_id, grant.entitlement_type), []).append(facts)
        standing = {(each.user_id, each.entitlement_type): each for each in rows.access}
        assert standing.keys() == of.keys()
        for key, grants in of.items():
            wanted = fold.stand(grants)
            assert (standing[key].expires_at, standing[key].revoked_at) == (wanted.expires_at, wanted.revoked_at)

    async def heal(self, *, has_ledger: bool) -> None:
        """Set everything right, and assert that everything settles: nothing lost, nothing doubled, everybody told."""
        await self.client.clear_faults()
        await self.crash()
        for _ in range(HEALING_ROUNDS_MAX):
            await self.take(lambda _: None, is_handled=True)
            if has_ledger:
                await self.reconcile()
            if not await self.life.work() + await self.life.deliver() and await self._is_quiet():
                break
            await self.client.move_clock(HOUR_SECONDS)
        else:
            raise AssertionError("it does not settle")
        await self.check()
        rows = await self._rows()
        settled = {each.event_id: each for each in rows.events}
        assert [each.event_id for each in rows.events if each.status != EventStatus.PROCESSED] == []
        charges = await self.client.charges()
        refunded = {f"refund:{each.id}" for each in charges if each.refunded_at is not None}
        assert settled.keys() == {each.id for each in charges} | refunded
        for charge in charges:
            self._check_settled(charge, settled[charge.id], rows)
        kept = sum(charge.stars for charge in charges if charge.refunded_at is None)
        assert (await self.client.balance())["amount"] == kept
        assert [each.kind for each in rows.outbox if each.sent_at is None] == []

    def _check_settled(self, charge: Charge, row: StripeEvent, rows: "_Rows") -> None:
        is_revoked = {each.revoked_at is not None for each in rows.grants if each.source.partition(":")[2] == charge.id}
        told = {each.kind for each in rows.outbox if each.event_id in {charge.id, f"refund:{charge.id}"}}
        if charge.refunded_at is not None:
            assert is_revoked <= {True}
            assert Notice.REFUNDED in told
        else:
            assert row.outcome == Outcome.GRANTED
            assert is_revoked == {False}
            # What only the ledger told of may be old news.
            assert Notice.GRANTED in told or row.ledger_seen_at == row.created_at

    async def _is_quiet(self) -> bool:
        rows = await self._rows()
        due = [each.due_at for each in rows.events] + [each.due_at for each in rows.outbox]
        return not await self.client.updates_waiting() and not any(due)

    async def _rows(self) -> "_Rows":
        async with self.life.database.reading() as session:
            return _Rows(
                (await session.scalars(select(StripeEvent))).all(),
                (await session.scalars(select(EntitlementGrant))).all(),
                (await session.scalars(select(Entitlement))).all(),
                (await session.scalars(select(OutboxMessage))).all(),
            )


@dataclass(frozen=True)
class _Rows:
    events: Sequence[StripeEvent]
    grants: Sequence[EntitlementGrant]
    access: Sequence[Entitlement]
    outbox: Sequence[OutboxMessage]


@asynccontextmanager
async def running_shop(database_url: str) -> AsyncIterator[Shop]:
    """Open a shop on a migrated database."""
    async with running_sandbox() as server, talking_bot(server.url, server.token) as steady:
        shop = Shop(server, database_url, await people_of(server.client), steady)
        await shop.begin_life()
        try:
            yield shop
        finally:
            await shop.end_life()

"""A shop under faults: people pay and get refunds, and its desk dies at any statement and starts again.

Everything is in one process and waits for nothing, so that what happens is a function of the steps alone. The desk's
objects are the real ones, on a real database, before the sandbox over real HTTP.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiogram import Bot
from aiogram.types import Update
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from bot.poll.intake import GetRawUpdates
from db.engine import Database
from db.errors import is_away
from payments.errors import RefundRefusedError
from payments.recording.updates import must_be_recorded
from payments.refunds import requests
from payments.sale.catalog import order_of
from payments.stripe.api import StripeApi
from payments.stripe.watch import StripeWatch
from payments.telegram import invoice_of
from sandbox.checkout import PaymentState
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import STRIPE_KEY
from sandbox.shapes import Json
from tests.scenarios.books import Books
from tests.scenarios.card_sales import CardSales
from tests.scenarios.subscribing import Subscribing
from tests.support.bots import talking_bot
from tests.support.chats import Chats, People, people_of
from tests.support.money import CATALOG, plan

HEALING_ROUNDS_MAX: Final = 100
LOOKS_MAX: Final = 5
HOUR_SECONDS: Final = 3600
RETRIES_MAX: Final = 3
"""How often an admin takes up again what Stripe has refused: after a lost dispute it refuses for ever."""


class DeathError(BaseException):
    """The desk dies here; no handler of errors may survive it."""


class _Life(Chats):
    """One life of the desk's objects. Every statement and commit may be its last (`dies_in`)."""

    def __init__(self, server: SandboxServer, bot: Bot, database: Database, people: People, stripe: StripeApi) -> None:
        super().__init__(server.client, server.world.clock.now, bot, database, CATALOG, people, stripe=stripe)
        self.dies_in = 0
        self.watch = StripeWatch(database, stripe, self.clock, self.admins, on_recorded=lambda: None, lost=None)
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
        money = [raw for raw in batch if must_be_recorded(raw)]
        shuffle(money)
        taken = await self.desk.recorder.record(money)
        assert taken.keys() == {raw["update_id"] for raw in money}
        for raw in [raw for raw in batch if not must_be_recorded(raw)] + (money if is_handled else []):
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
        self.steady = steady
        self.admin_id = people.admin.id
        self.subscribing = Subscribing(self)
        self.cards = CardSales(self, server.world.stripe)
        self._stack = AsyncExitStack()
        self._told: list[Json] = []
        self.deaths = 0
        self.life: _Life

    async def begin_life(self) -> None:
        """Make the desk's objects anew."""
        database = Database(self._database_url)
        self._stack.push_async_callback(database.dispose)
        bot = await self._stack.enter_async_context(talking_bot(self._server.url, self._server.token))
        stripe = StripeApi(STRIPE_KEY, self._server.url, session=None)
        self._stack.push_async_callback(stripe.close)
        self.life = _Life(self._server, bot, database, self._people, stripe)
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

    # Acts of people, Telegram and time.

    async def pay(self, buyer: int, code: str) -> None:
        """Let a buyer pay an invoice; the pre-checkout is answered, and the payment's update waits."""
        person = self.buyers[buyer]
        sent = await self.steady(
            invoice_of(plan(code), person.id, order_of(plan(code), person.id), self.life.signer, provider_token="")
        )
        payment = await self.client.start_payment(person.id, message_id=sent.message_id)
        while (await self.client.payment(payment.id)).state is PaymentState.ASKING:
            await self.take(lambda _: None, is_handled=False)

    async def refund_elsewhere(self, which: int) -> None:
        """Let Telegram's support refund a charge."""
        charges = [charge for charge in await self.client.charges() if charge.refunded_at is None]
        if charges:
            await self.client.refund_elsewhere(charges[which % len(charges)].id)

    async def request_refund(self, which: int) -> None:
        """Let an admin ask for the refund of a charge."""
        charges = await self.client.charges()
        if not charges:
            return
        try:
            async with self.life.database.transaction() as session:
                await requests.request_refund(
                    session,
                    charges[which % len(charges)].id,
                    reason="as agreed",
                    requested_by="telegram:1",
                    reply_chat_id=self.admin_id,
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
        await self.life.desk.reconciliation.run()

    async def read_stripe(self) -> None:
        """Read what happened at Stripe."""
        await self.life.watch.try_once()

    # Invariants.

    async def check(self) -> None:
        """Assert what holds at every moment."""
        books = await self.books()
        books.check({charge.id: charge for charge in await self.client.charges()}, await self.client.ledger())
        self.cards.check(books)

    async def heal(self, *, has_ledger: bool) -> None:
        """Set everything right, and assert that everything settles: nothing lost, nothing doubled, everybody told."""
        await self.client.clear_faults()
        await self.crash()
        for number in range(HEALING_ROUNDS_MAX):
            await self.take(lambda _: None, is_handled=True)
            if has_ledger:
                await self.reconcile()
            await self.read_stripe()
            if number < RETRIES_MAX:
                await self.cards.retry_parked()
            if not await self.life.work() + await self.life.deliver() and await self._is_quiet():
                break
            await self.client.move_clock(HOUR_SECONDS)
        else:
            raise AssertionError("it does not settle")
        await self.check()
        books, charges = await self.books(), await self.client.charges()
        books.check_settled(charges)
        kept = sum(charge.stars for charge in charges if charge.refunded_at is None)
        assert (await self.client.balance())["amount"] == kept
        await self.subscribing.check_end(books)
        await self.cards.check_end(books)

    async def _is_quiet(self) -> bool:
        return not await self.client.updates_waiting() and (await self.books()).is_quiet

    async def books(self) -> Books:
        """Read all rows of the books.

        A read that is cut off is made again, because PostgreSQL ends the transaction of a process that stood still for
        some seconds (db/engine.py), as a soak at low priority does.
        """
        for _ in range(LOOKS_MAX):
            try:
                async with self.life.database.reading() as session:
                    return await Books.read(session)
            except DBAPIError as error:
                if not is_away(error):
                    raise
        raise AssertionError("the books cannot be read")


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

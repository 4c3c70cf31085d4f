"""A desk that lives through days before a sandbox, on the sandbox's clock: what is told waits in the outbox."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from aiogram import Bot
from sqlalchemy import select

from bot.desk.ledger_watch import open_ledger
from bot.poll.intake import GetRawUpdates
from db.engine import Database
from db.tables import Entitlement, EntitlementGrant, LedgerReading, OutboxMessage, StripeEvent, Subscription, User
from payments.ledger import progress
from payments.ledger.fetching import TelegramLedger
from payments.ledger.rebuild import PassReport
from payments.ledger.reconciliation import Comparison
from payments.recording.updates import must_be_recorded
from payments.refunds import requests
from payments.sale.payload import Order, PayloadSigner
from sandbox.charges import Charge, Period, period_after
from sandbox.invoices import STARS, SUBSCRIPTION_PERIOD_SECONDS, Invoice
from sandbox.server import SandboxServer
from tests.support.desk import wired
from tests.support.money import CATALOG, SIGNER

BUYERS: Final = range(6001, 6041)
"""The Telegram ids of people who are rich enough for all of it."""
DAY: Final = timedelta(days=1)
BATCH_MAX: Final = 100

Natural = dict[str, list[tuple[Any, ...]]]


class Life:
    """One desk on one database."""

    def __init__(self, server: SandboxServer, bot: Bot, database: Database, signer: PayloadSigner = SIGNER) -> None:
        self.server = server
        self.bot = bot
        self.database = database
        self.clock = server.world.clock.now
        self.ledger = TelegramLedger(bot)
        self._offset = 0
        self._seen: set[int] = set()
        self._signer = signer
        self._desk = wired(database, self.clock, bot, signer)
        self.worker = self._desk.worker

    def pay(self, person_id: int, code: str, *, buyer_id: int | None = None, payload: str | None = None) -> Charge:
        """Let a person pay a plan's invoice, made for them or for somebody else: row, message and update."""
        plan = CATALOG.plans[code]
        order = Order(code, plan.days, plan.subscription, plan.price_stars, STARS, buyer_id or person_id)
        signed = self._signer.sign(order) if payload is None else payload
        period_seconds = SUBSCRIPTION_PERIOD_SECONDS if plan.subscription else 0
        invoice = Invoice("", "", signed, STARS, plan.price_stars, "", period_seconds)
        world = self.server.world
        person = world.people.person(person_id)
        if not plan.subscription:
            return world.charges.take(person, invoice)
        with world.clock.one_moment():
            ends_at = period_after(world.clock.now())
            charge = world.charges.take(person, invoice, Period(ends_at, None))
            world.subscriptions.begin(charge, invoice, ends_at)
        return charge

    def pass_days(self, days: float) -> None:
        """Let time go by, with nobody at the desk."""
        self.server.world.move_clock(seconds=days * DAY.total_seconds())

    async def live(self, days: int) -> None:
        """Let time go by, the desk at work each day."""
        for _ in range(days):
            self.pass_days(1)
            await self.work()

    async def work(self) -> None:
        """Take every update that waits, and do what is due, until nothing is left."""
        while await self._take() or await self.worker.work_once():
            pass

    async def _take(self) -> int:
        """Take a batch of updates, and return how many there were."""
        # The sandbox is asked first: Telegram holds a second poll at one offset for three seconds.
        if self._seen.issuperset(each.id for each in await self.server.client.updates_waiting()):
            return 0
        batch = await self.bot(GetRawUpdates(offset=self._offset, timeout=0, limit=BATCH_MAX))
        money = [update for update in batch if must_be_recorded(update)]
        assert not money or len(await self._desk.recorder.record(money)) == len(money)
        self._seen.update(update["update_id"] for update in batch)
        self._offset = batch[-1]["update_id"] + 1
        return len(batch)

    async def request_refund(self, charge_id: str) -> None:
        """Ask for a refund as an admin does."""
        async with self.database.transaction() as session:
            await requests.request_refund(
                session, charge_id, reason="broken", requested_by="telegram:42", reply_chat_id=None, now=self.clock()
            )

    async def start(self) -> PassReport | None:
        """Begin as the daemon does: a whole pass if one is wanted, then what is due; return the pass's report."""
        await open_ledger(self.database, self.ledger, self.clock)
        async with self.database.reading() as session:
            stand = await progress.find(session)
        report = None
        if stand is not None and stand.pass_wanted_at is not None:
            report = await self._desk.whole_pass.run()
        await self.compare()
        return report

    async def compare(self, *, from_start: bool = False) -> Comparison:
        """Compare with the ledger, and do what has fallen due."""
        report = await self._desk.reconciliation.run(from_start=from_start)
        await self.work()
        return report

    async def told(self) -> list[str]:
        """Return the kinds of all that is or was to be told, in their order."""
        async with self.database.reading() as session:
            return list(await session.scalars(select(OutboxMessage.kind).order_by(OutboxMessage.id)))

    async def stand(self) -> LedgerReading:
        async with self.database.reading() as session:
            stand = await progress.find(session)
        assert stand is not None
        return stand


async def natural(database: Database) -> Natural:
    """Return the rows of the tables that a rebuild makes, by what names them at Telegram.

    Without times of ours, ids of ours, and what a ledger cannot know (docs/disaster.md).
    """
    async with database.reading() as session:
        users = {user.id: user for user in await session.scalars(select(User))}
        events = await session.scalars(select(StripeEvent))
        grants = await session.scalars(select(EntitlementGrant))
        access = await session.scalars(select(Entitlement))
        rows = await session.scalars(select(Subscription))
        who = {user_id: user.telegram_id for user_id, user in users.items()}
        return {
            "users": _sorted((user.telegram_id, user.username) for user in users.values()),
            "stripe_events": _sorted(
                (
                    *(event.event_id, event.event_type, event.payment_method, who[event.customer_id]),
                    *(event.amount_cents, event.currency, event.status, event.outcome, event.origin),
                    *(event.webhook_timestamp, event.refund_of, event.payload, event.is_recurring),
                )
                for event in events
            ),
            "entitlement_grants": _sorted(
                (
                    *(grant.source, grant.entitlement_type, who[grant.user_id], grant.granted_at),
                    *(grant.duration_days, grant.ends_at, grant.revoked_at is not None),
                )
                for grant in grants
            ),
            "entitlements": _sorted(
                (who[each.user_id], each.entitlement_type, "revoked" if each.revoked_at else each.expires_at)
                for each in access
            ),
            "subscriptions": _sorted(
                (
                    *(row.first_charge_id, row.last_charge_id, who[row.user_id], row.plan, row.payload),
                    *(row.price_stars, row.current_period_end, row.paid_until),
                )
                for row in rows
            ),
        }


def _sorted(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=repr)

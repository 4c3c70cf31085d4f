"""The money side of the desk, wired on a test's database, and what can be seen of it afterwards."""

import json
from datetime import datetime
from typing import Any

from aiogram import Bot
from sqlalchemy import Table, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.desk.wiring import Desk as Parts
from bot.desk.wiring import make_desk
from db.clock import Clock
from db.engine import Database
from db.tables import Base, Entitlement, OutboxMessage, StripeEvent, User
from entitlements import EntitlementService
from payments import waiting
from payments.audit import events, fact_rows
from payments.audit.facts import Fact, MoneyFact, Person
from payments.channel import by_name
from payments.effects import OutwardEffects
from payments.notices import Notice
from payments.refunds import requests
from payments.sale.payload import PayloadSigner
from payments.settlement.settlement import Settlement
from payments.stars import StarsChannel
from payments.subscriptions.chain import Terms
from payments.waiting import RetryResult
from tests.support.clock import FakeClock
from tests.support.money import ADMINS, BUYER, CATALOG, SIGNER
from tests.support.timings import PATIENT

Rows = dict[str, list[tuple[Any, ...]]]


class Desk:
    """The steps of tests of money on a database, each in a transaction of its own as in the daemon."""

    def __init__(self, database: Database, clock: FakeClock, settlement: Settlement | None = None) -> None:
        self.database = database
        self.clock = clock
        self.settlement = settlement or Settlement(CATALOG, SIGNER, clock, OutwardEffects(clock, ADMINS), terms=Terms())

    async def record(self, *facts: Fact) -> None:
        async with self.database.transaction() as session:
            await fact_rows.record(session, facts, self.clock())

    async def settle(self, event_id: str, *, confirmed: bool = False) -> StripeEvent | None:
        async with self.database.transaction() as session:
            return await self.settlement.settle(session, event_id, confirmed=confirmed)

    async def take(self, fact: MoneyFact) -> StripeEvent:
        """Record and settle one payment or refund, as when its update comes."""
        await self.record(fact)
        settled = await self.settle(fact.event_id)
        assert settled is not None
        return settled

    async def request_refund(self, charge_id: str, *, reply_chat_id: int | None = None) -> StripeEvent:
        async with self.database.transaction() as session:
            return await requests.request_refund(
                session,
                charge_id,
                reason="wrong plan",
                requested_by="telegram:42",
                reply_chat_id=reply_chat_id,
                now=self.clock(),
            )

    async def retry(self, waiting_id: str) -> RetryResult:
        """Take up again what is parked or in quarantine."""
        async with self.database.transaction() as session:
            return await waiting.retry(session, waiting_id, self.clock())

    async def event(self, event_id: str) -> StripeEvent:
        async with self.database.reading() as session:
            event = await events.find(session, event_id)
        assert event is not None
        return event

    async def user_id(self, person: Person = BUYER) -> str:
        async with self.database.reading() as session:
            user_id = await session.scalar(select(User.id).where(User.telegram_id == person.telegram_id))
        assert user_id is not None
        return user_id

    async def holds(self, entitlement_type: str = "premium", person: Person = BUYER) -> bool:
        """Tell whether a person has access now, by the desk's clock."""
        user_id = await self.user_id(person)
        async with self.database.reading() as session:
            return await EntitlementService(session).has_entitlement(user_id, entitlement_type, self.clock())

    async def access(self, entitlement_type: str = "premium", person: Person = BUYER) -> Entitlement | None:
        user_id = await self.user_id(person)
        async with self.database.reading() as session:
            return await session.get(Entitlement, (user_id, entitlement_type))

    async def expires_at(self, entitlement_type: str = "premium", person: Person = BUYER) -> datetime | None:
        """Return until when what stands is open; it must stand."""
        access = await self.access(entitlement_type, person)
        assert access is not None
        assert access.revoked_at is None
        return access.expires_at

    async def notices(self, event_id: str | None = None) -> list[tuple[Notice, int, dict[str, Any]]]:
        """Return what is on record to be told, in the order of writing: kind, chat, facts."""
        query = select(OutboxMessage).order_by(OutboxMessage.id)
        if event_id is not None:
            query = query.where(OutboxMessage.event_id == event_id)
        async with self.database.reading() as session:
            return [(Notice(row.kind), row.chat_id, json.loads(row.facts)) for row in await session.scalars(query)]

    async def told(self, event_id: str | None = None) -> list[tuple[Notice, int]]:
        """Return the kinds and chats of `notices`."""
        return [(notice, chat_id) for notice, chat_id, _ in await self.notices(event_id)]

    async def due_notices(self) -> list[tuple[Notice, int, datetime]]:
        """Return the kinds and chats of what is to be delivered, with when it fell due."""
        query = select(OutboxMessage).where(OutboxMessage.due_at.is_not(None)).order_by(OutboxMessage.id)
        async with self.database.reading() as session:
            return [(Notice(row.kind), row.chat_id, row.due_at) for row in await session.scalars(query) if row.due_at]

    async def deliver(self) -> None:
        """Mark what is due as delivered, as the outbox does after Telegram's answer."""
        delivered = {"due_at": None, "sent_at": self.clock()}
        async with self.database.transaction() as session:
            await session.execute(update(OutboxMessage).where(OutboxMessage.due_at <= self.clock()).values(delivered))


def wired(database: Database, clock: Clock, bot: Bot, signer: PayloadSigner = SIGNER) -> Parts:
    """Wire the parts of a desk that sells the tests' catalog for Stars."""
    return make_desk(
        bot=bot,
        database=database,
        catalog=CATALOG,
        signer=signer,
        clock=clock,
        channels=by_name(StarsChannel(bot)),
        admins=ADMINS,
        terms=Terms(),
        timings=PATIENT,
    )


async def dump(session: AsyncSession) -> Rows:
    """Return every row of every table, sorted."""
    rows: Rows = {}
    for table in Base.metadata.sorted_tables:
        rows[table.name] = sorted((tuple(row) for row in await session.execute(select(table))), key=repr)
    return rows


async def counts(database: Database) -> dict[str, int]:
    """Return how many rows each table has."""

    async def count(session: AsyncSession, table: Table) -> int:
        return (await session.execute(select(func.count()).select_from(table))).scalar_one()

    async with database.reading() as session:
        return {table.name: await count(session, table) for table in Base.metadata.sorted_tables}

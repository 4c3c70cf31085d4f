"""Measures money: a payment and a refund below 100 ms, a repeated one below 10 ms, 25 at once."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Final

from bench.measurements import Figure
from db.clock import utc_now
from db.engine import Database
from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from payments.refunds import requests
from payments.settlement.worker import Worker
from sandbox.history import PastPayment
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.support.bots import talking_bot
from tests.support.desk import wired
from tests.support.money import TOKEN, charge
from tests.support.statements import statements

ROUNDS: Final = 200
AT_ONCE: Final = 25
PAYMENT_MS_MAX: Final = 100.0
REPEAT_MS_MAX: Final = 10.0
BUYER: Final = Person(7001)


async def measure(engine: str, database: Database) -> list[Figure]:
    """Measure payments and refunds on one database."""
    async with _desk(database) as (worker, server):
        charges = [await _paid(server) for _ in range(ROUNDS)]
        payments = [await _timed(_settle(database, worker, each)) for each in charges]
        with statements(database) as said:
            await _settle(database, worker, await _paid(server))
        statements_of_payment = len(said)
        repeats = [await _timed(_settle(database, worker, each)) for each in charges]
        back = [await _timed(_refund(database, worker, each)) for each in charges]
        crowd = [charge(f"crowd-{number}", payer=Person(8000 + number)) for number in range(AT_ONCE)]
        began = perf_counter()
        await asyncio.gather(*(_settle(database, worker, each) for each in crowd))
        crowd_ms = (perf_counter() - began) * 1000
    return [
        Figure("a payment, recorded and settled (median)", engine, statistics.median(payments), "ms", PAYMENT_MS_MAX),
        Figure("the slowest of twenty", engine, _slowest_of_twenty(payments), "ms", PAYMENT_MS_MAX),
        Figure("statements of a payment", engine, statements_of_payment, "", note="BEGIN and COMMIT are none"),
        Figure("the same payment again (median)", engine, statistics.median(repeats), "ms", REPEAT_MS_MAX),
        Figure(
            "a refund, asked for, called and settled (median)", engine, statistics.median(back), "ms", PAYMENT_MS_MAX
        ),
        Figure(
            f"{AT_ONCE} payments at once, all of them", engine, crowd_ms, "ms", note="five connections on PostgreSQL"
        ),
    ]


@asynccontextmanager
async def _desk(database: Database) -> AsyncIterator[tuple[Worker, SandboxServer]]:
    async with running_sandbox(Settings(token=TOKEN)) as server, talking_bot(server.url, TOKEN) as bot:
        await server.client.add_person("Ann", id=BUYER.telegram_id, started=True)
        yield wired(database, utc_now, bot).worker, server


async def _paid(server: SandboxServer) -> ChargeFact:
    """Add a payment to Telegram, so that Telegram can refund it."""
    fact = charge(payer=BUYER, at=utc_now())
    past = PastPayment(user_id=BUYER.telegram_id, payload=fact.payload, stars=fact.amount, at=fact.happened_at)
    [charge_id] = await server.client.add_past_payments([past])
    return charge(charge_id, payer=BUYER, payload=fact.payload, at=fact.happened_at)


async def _settle(database: Database, worker: Worker, fact: ChargeFact) -> None:
    async with database.transaction() as session:
        await fact_rows.record(session, [fact], utc_now())
    await worker.process(fact.event_id)


async def _refund(database: Database, worker: Worker, fact: ChargeFact) -> None:
    async with database.transaction() as session:
        asked = await requests.request_refund(
            session, fact.charge_id, reason=None, requested_by="cli:bench", reply_chat_id=None, now=utc_now()
        )
    await worker.process(asked.event_id)


async def _timed(work: Awaitable[None]) -> float:
    """Return the milliseconds that a step takes."""
    began = perf_counter()
    await work
    return (perf_counter() - began) * 1000


def _slowest_of_twenty(times_ms: list[float]) -> float:
    return statistics.quantiles(times_ms, n=20)[-1]

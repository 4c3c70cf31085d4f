"""Bench figures of a backlog: payments that are on record and not settled when the desk starts.

The daemon runs in a process of its own, as in production, at a sandbox whose calls take 80 ms, as Telegram's do.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from sqlalchemy import func, select

from bench.desks import CATALOG, PLAN, desk_program, fresh_urls
from bench.measurements import Figure
from bench.programs import START_SECONDS, Program, RunningBot, open_sandbox, running_bot, started
from bench.purchase_loop import Buyers
from db.clock import utc_now
from db.engine import Database
from db.migrate import migrate
from db.states import STARS_CURRENCY
from db.tables import Entitlement, User
from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from payments.sale.payload import Order, PayloadSigner
from sandbox.client import SandboxClient
from sandbox.history import PastPayment
from sandbox.settings import TOKEN

CALL_MS: Final = 80
"""The time of a call to Telegram's servers from a European data centre."""
SETTLED: Final = 2_000
TOLD: Final = 400
WAITING: Final = 10_000
SETTLED_PER_SECOND_MIN: Final = {"sqlite": 200.0, "postgresql": 330.0}
ALL_HAVE_ACCESS_SECONDS: Final = {"sqlite": 10.0, "postgresql": 6.0}
TOLD_PER_SECOND_MIN: Final = 25.0
PRE_CHECKOUT_SECONDS_MAX: Final = 1.0
MEMORY_MIB_MAX: Final = 20.0
FIRST_BUYER: Final = 500_001
BUYERS_AT_ONCE: Final = 5
LOOK_SECONDS: Final = 0.05
_BACKLOG_SECONDS_MAX: Final = 900.0
_CHUNK: Final = 1_000
_ADDED_AT_ONCE: Final = 20


async def measure(engine: str, waiting: int = WAITING) -> list[Figure]:
    """Measure the bench figures of a backlog on one engine; `waiting` payments wait while others are made."""
    return [*await _measure_settling(engine), *await _measure_telling(engine), *await _measure_sales(engine, waiting)]


async def _measure_settling(engine: str) -> list[Figure]:
    async with _backlog(engine, SETTLED) as backlog, started(backlog.program, backlog.client) as bot:
        seconds = await backlog.all_have_access(bot)
    return [
        Figure(
            f"payments settled a second, of {SETTLED:,} that wait",
            engine,
            SETTLED / seconds,
            "",
            least=SETTLED_PER_SECOND_MIN[engine],
        ),
        Figure(
            f"until all {SETTLED:,} have access, from the start", engine, seconds, "s", ALL_HAVE_ACCESS_SECONDS[engine]
        ),
    ]


async def _measure_telling(engine: str) -> list[Figure]:
    async with _backlog(engine, TOLD) as backlog:
        last, _ = await backlog.client.events()
        async with started(backlog.program, backlog.client):
            came_at: list[float] = []
            async with asyncio.timeout(_BACKLOG_SECONDS_MAX):
                while len(came_at) < TOLD:
                    last, events = await backlog.client.events(after=last, timeout_seconds=START_SECONDS)
                    came_at += [perf_counter() for event in events if event["topic"] == "message"]
    pace = (TOLD - 1) / (came_at[TOLD - 1] - came_at[0])
    return [Figure("messages told a second, at the limit of 25", engine, pace, "", least=TOLD_PER_SECOND_MIN)]


async def _measure_sales(engine: str, waiting: int) -> list[Figure]:
    """Measure the pre-checkouts beside a long backlog, and the memory that it takes."""
    usual_mib = await _usual_mib(engine)
    async with _backlog(engine, waiting) as backlog, started(backlog.program, backlog.client) as bot:
        await backlog.client.wait_until_polling(timeout_seconds=START_SECONDS)
        buyers = Buyers(backlog.client, is_confirmation_awaited=False)
        working = asyncio.create_task(backlog.all_have_access(bot))
        while not working.done():
            await buyers.purchase(2 * BUYERS_AT_ONCE, BUYERS_AT_ONCE)
        await working
        grown_mib = bot.peak_mib() - usual_mib
    times = buyers.payment_seconds
    what = f"while {waiting:,} wait"
    p99 = statistics.quantiles(times, n=100)[-1]
    return [
        Figure(f"pre-checkout p99 {what}", engine, p99, "s", PRE_CHECKOUT_SECONDS_MAX, f"of {len(times)}"),
        Figure(f"peak of memory {what}, beyond the usual", engine, grown_mib, "MiB", MEMORY_MIB_MAX),
    ]


async def _usual_mib(engine: str) -> float:
    """Return the peak of memory of a desk without a backlog, after some purchases."""
    async with fresh_urls(engine, 1) as (url,), desk_program(url) as program, running_bot(program) as bot:
        await Buyers(bot.client).purchase(2 * BUYERS_AT_ONCE, BUYERS_AT_ONCE)
        return bot.peak_mib()


@dataclass(frozen=True, slots=True)
class _Backlog:
    """Payments that wait in a database, the desk's program on it, and the sandbox where the buyers have chats."""

    program: Program
    client: SandboxClient
    database: Database
    count: int

    async def all_have_access(self, bot: RunningBot) -> float:
        """Wait until each buyer of the backlog has access; return the seconds since the desk was ready."""
        began = None
        async with asyncio.timeout(_BACKLOG_SECONDS_MAX):
            while True:
                if began is None and "ready:" in bot.log.read_text():
                    began = perf_counter()
                if began is not None and await self._opened() >= self.count:
                    return perf_counter() - began
                await asyncio.sleep(LOOK_SECONDS)

    async def _opened(self) -> int:
        buyers = select(User.id).where(User.telegram_id.between(FIRST_BUYER, FIRST_BUYER + self.count - 1))
        async with self.database.reading() as session:
            query = select(func.count()).select_from(Entitlement).where(Entitlement.user_id.in_(buyers))
            return (await session.scalars(query)).one()


@asynccontextmanager
async def _backlog(engine: str, count: int) -> AsyncIterator[_Backlog]:
    """Record so many payments of as many buyers, whom the sandbox knows as well as its ledger does."""
    async with fresh_urls(engine, 1) as (url,), desk_program(url) as program, open_sandbox(CALL_MS) as client:
        database = Database(url)
        try:
            await migrate(database, int(TOKEN.partition(":")[0]))
            for first in range(0, count, _CHUNK):
                await _record(database, client, range(FIRST_BUYER + first, FIRST_BUYER + min(first + _CHUNK, count)))
            yield _Backlog(program, client, database, count)
        finally:
            await database.dispose()


async def _record(database: Database, client: SandboxClient, buyer_ids: Sequence[int]) -> None:
    plan, signer, now = CATALOG.plans[PLAN], PayloadSigner(TOKEN), utc_now()
    for first in range(0, len(buyer_ids), _ADDED_AT_ONCE):
        await asyncio.gather(
            *(client.add_person("Ann", id=each, started=True) for each in buyer_ids[first : first + _ADDED_AT_ONCE])
        )
    payloads = [
        signer.sign(Order(plan.code, plan.days, plan.subscription, plan.price_stars, STARS_CURRENCY, each))
        for each in buyer_ids
    ]
    charge_ids = await client.add_past_payments(
        [
            PastPayment(user_id=buyer_id, payload=payload, stars=plan.price_stars, at=now)
            for buyer_id, payload in zip(buyer_ids, payloads, strict=True)
        ]
    )
    facts = [
        ChargeFact(
            charge_id=charge_id,
            person=Person(buyer_id),
            amount=plan.price_stars,
            currency=STARS_CURRENCY,
            payload=payload,
            happened_at=now,
        )
        for charge_id, buyer_id, payload in zip(charge_ids, buyer_ids, payloads, strict=True)
    ]
    async with database.transaction() as session:
        await fact_rows.record(session, facts, now)

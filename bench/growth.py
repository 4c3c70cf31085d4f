"""Bench figures of growth: the same work on a database of a thousand events and of a million.

One purchase is settled, and SQL multiplies its rows: ten events for each user, each with its grant, its pre-checkout
and its message.
"""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final

from bench.engines import fresh_database
from bench.ledger import measure_comparison
from bench.measurements import Figure
from bench.multiplied import Copies, multiply
from bot.desk.ledger_watch import mark_if_lost
from bot.desk.wiring import Desk
from db.clock import utc_now
from db.engine import Database
from payments.audit import fact_rows
from payments.audit.facts import Person
from payments.audit.history import read_history
from payments.ledger.fetching import TelegramLedger
from payments.sale.eligibility import Sale
from payments.sale.offered_terms import record_offered_terms
from tests.support.bots import talking_bot
from tests.support.desk import wired
from tests.support.money import CATALOG, TOKEN, charge, plan, query

FEW: Final = 1_000
EVENTS_OF_USER: Final = 10
GROWTH_MAX: Final = 2.0
"""An index over a million rows is a level or two deeper, and less of it is in memory; anything else would be seen."""
ROUNDS: Final = 30
WARM_UP: Final = 5
_FIRST_BUYER: Final = 9_000_000
_BUYER: Final = Person(_FIRST_BUYER + 7)
_READ_BEFORE: Final = 1_000

_COPIES: Final[Copies] = {
    "users": {"id": "'user-' || i", "telegram_id": f"{_FIRST_BUYER} + i", "username": "'user' || i"},
    "stripe_events": {"id": "'e-' || i", "event_id": "'c-' || i", "customer_id": "'user-' || (i / 10)"},
    "entitlement_grants": {"id": "'g-' || i", "source": "'c-' || i", "user_id": "'user-' || (i / 10)"},
    "entitlements": {"user_id": "'user-' || i"},
    "checkouts": {"query_id": "'q-' || i", "telegram_id": f"{_FIRST_BUYER} + i / 10"},
    "outbox": {"event_id": "'c-' || i", "chat_id": f"{_FIRST_BUYER} + i / 10"},
}
_PER_USER: Final = ("users", "entitlements")


async def measure(engine: str, many: int) -> list[Figure]:
    """Measure the bench figures of growth on one engine: `many` events against a thousand."""
    few_ms, many_ms = await _measure_at(engine, FEW), await _measure_at(engine, many)
    return [
        Figure(
            f"{what}: {many:,} events against {FEW:,}",
            engine,
            many_ms[what] / few_ms[what],
            "x",
            GROWTH_MAX,
            f"{few_ms[what]:.2f} ms, {many_ms[what]:.2f} ms",
        )
        for what in few_ms
    ]


async def _measure_at(engine: str, count: int) -> dict[str, float]:
    """Return the least milliseconds of each piece of work on a database with so many events.

    They are the least of thirty, because the machine has other things to do as well.
    """
    async with fresh_database(engine) as database, talking_bot("http://127.0.0.1:9", TOKEN) as bot:
        desk = wired(database, utc_now, bot)
        await _pay(database, desk, "first")
        await desk.handler.validate_pre_checkout(query())
        await _fill(database, count)
        works = _works(database, desk, TelegramLedger(bot))
        taken = {what: await _least_ms(work) for what, work in works.items()}
        *_, comparison = await measure_comparison(engine, database, _READ_BEFORE)
    return taken | {"a comparison with the ledger": comparison.value}


def _works(database: Database, desk: Desk, ledger: TelegramLedger) -> dict[str, Callable[[], Awaitable[object]]]:
    async def history() -> None:
        async with database.reading() as session:
            found = await read_history(session, _BUYER.telegram_id)
        if found is None or len(found.page.entries) < EVENTS_OF_USER // 2:
            raise ValueError("the history is not there")

    async def buy() -> None:
        await desk.handler.find_obstacle(Sale(plan("auto"), _BUYER.telegram_id, is_subscription=True))

    async def start() -> None:
        await mark_if_lost(database, ledger, utc_now)
        async with database.transaction() as session:
            await record_offered_terms(session, CATALOG, utc_now())
        await desk.worker.catch_up()

    numbers = iter(range(WARM_UP + ROUNDS))

    async def pay() -> None:
        await _pay(database, desk, f"again-{next(numbers)}")

    return {
        "/history": history,
        "/buy": buy,
        "the start's questions": start,
        "what is due: payments": desk.worker.work_once,
        "what is due: subscriptions, reminders": desk.keeper.work_once,
        "what is due: messages": desk.outbox.deliver_once,
        "a payment": pay,
    }


async def _pay(database: Database, desk: Desk, charge_id: str) -> None:
    fact = charge(charge_id, payer=_BUYER if charge_id != "first" else Person(_FIRST_BUYER - 1), at=utc_now())
    async with database.transaction() as session:
        await fact_rows.record(session, [fact], utc_now())
    await desk.worker.process(fact.event_id)


async def _least_ms(work: Callable[[], Awaitable[object]]) -> float:
    # The first times make statements and connections.
    for _ in range(WARM_UP):
        await work()
    times = []
    for _ in range(ROUNDS):
        began = perf_counter()
        await work()
        times.append((perf_counter() - began) * 1000)
    return min(times)


async def _fill(database: Database, count: int) -> None:
    """Copy the rows of the one purchase, so that there are `count` events."""
    async with database.migration() as connection:
        # The rule is that an event is born at status 0; the copies are settled already.
        table = "" if database.is_sqlite else " ON stripe_events"
        await connection.exec_driver_sql(f"DROP TRIGGER starledger_events_born_pending{table}")
        await connection.exec_driver_sql("UPDATE outbox SET due_at = NULL, sent_at = created_at")
    counts = {name: count // EVENTS_OF_USER if name in _PER_USER else count for name in _COPIES}
    await multiply(database, _COPIES, counts)
    if not database.is_sqlite:
        async with database.migration() as connection:
            await connection.exec_driver_sql("ANALYZE")

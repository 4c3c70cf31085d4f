import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import select, text

from db.engine import Database
from db.states import CheckoutVerdict
from db.tables import Checkout
from payments.audit.facts import Person
from payments.checkout import ACCOUNT_MAX, LATE_MAX, CheckoutAnswer, CheckoutDesk, CheckoutQuery
from payments.sale.catalog import Catalog
from payments.sale.eligibility import PurchaseObstacle
from payments.sale.payload import PayloadSigner
from payments.subscriptions.chain import UNHEARD
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER, CATALOG, SIGNER, STRANGER, TOKEN, charge, order, plan, query, refund
from tests.support.obstacles import breaking_off, locked
from tests.support.statements import statements
from tests.support.waiting import WAIT_SECONDS, until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

LEAKED_TOKEN: Final = "1000001:a-token-that-leaked"
SHORT_SECONDS: Final = 0.2
"""A deadline that is missed where something waits for a lock."""


def _checkouts(desk: Desk, catalog: Catalog = CATALOG, *, deadline_seconds: float = WAIT_SECONDS) -> CheckoutDesk:
    signer = PayloadSigner(TOKEN, [LEAKED_TOKEN])
    return CheckoutDesk(desk.database, catalog, signer, desk.clock, deadline_seconds, sells_by_card=False)


async def _rows(database: Database) -> list[Checkout]:
    async with database.reading() as session:
        return list(await session.scalars(select(Checkout).order_by(Checkout.query_id)))


@pytest.mark.criterion("L2")
async def test_a_fair_query_is_accepted_and_on_record(desk: Desk) -> None:
    asked = query()
    assert await _checkouts(desk).decide(asked) is CheckoutVerdict.ACCEPTED
    (row,) = await _rows(desk.database)
    assert (row.query_id, row.telegram_id, row.payload) == (asked.query_id, BUYER.telegram_id, asked.payload)
    assert (row.amount, row.currency, row.verdict, row.created_at) == (200, "XTR", "accepted", desk.clock())


@pytest.mark.criterion("L2", "S1", "S2", "C4", "C5")
@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (replace(query(), payload="another program's"), CheckoutVerdict.UNKNOWN_INVOICE),
        (replace(query(), payload=query().payload[:-1]), CheckoutVerdict.UNKNOWN_INVOICE),
        (replace(query(), payload=PayloadSigner("1:forged").sign(order("month"))), CheckoutVerdict.UNKNOWN_INVOICE),
        (replace(query(), payload=PayloadSigner(LEAKED_TOKEN).sign(order("month"))), CheckoutVerdict.STALE_INVOICE),
        (replace(query(), telegram_id=STRANGER.telegram_id), PurchaseObstacle.NOT_THE_BUYER),
        (query("old"), PurchaseObstacle.NOT_ON_SALE),
        (replace(query(), amount=1), CheckoutVerdict.STALE_INVOICE),
        (replace(query(), currency="USD"), CheckoutVerdict.STALE_INVOICE),
        (
            replace(query(), payload=SIGNER.sign(replace(order("month"), amount=1)), amount=1),
            CheckoutVerdict.STALE_INVOICE,
        ),
        (replace(query(), payload=SIGNER.sign(replace(order("month"), days=31))), CheckoutVerdict.STALE_INVOICE),
    ],
    ids=["foreign", "cut", "forged", "leaked", "stranger", "retired", "amount", "currency", "price", "days"],
)
async def test_a_wrong_query_is_declined_without_asking_the_database(
    desk: Desk, asked: CheckoutQuery, verdict: CheckoutAnswer
) -> None:
    with statements(desk.database) as said:
        assert await _checkouts(desk).decide(asked) is verdict
    assert said == []


async def test_a_plan_that_is_gone_is_not_on_sale(desk: Desk) -> None:
    checkouts = _checkouts(desk, Catalog({"life": plan("life")}))
    assert await checkouts.decide(query()) is PurchaseObstacle.NOT_ON_SALE


@pytest.mark.criterion("L2")
async def test_pre_checkout_of_a_lifetime_owner_is_declined(desk: Desk) -> None:
    bought = charge(code="life")
    await desk.take(bought)
    checkouts = _checkouts(desk)
    assert await checkouts.decide(query("month")) is PurchaseObstacle.HELD_FOR_LIFE
    # It opens something that is not held.
    assert await checkouts.decide(replace(query("bundle"), query_id="7002")) is CheckoutVerdict.ACCEPTED
    await desk.take(charge("other", payer=STRANGER))
    someone = replace(query("month", STRANGER), query_id="7003")
    assert await checkouts.decide(someone) is CheckoutVerdict.ACCEPTED
    await desk.take(refund(bought))
    assert await checkouts.decide(replace(query("month"), query_id="7004")) is CheckoutVerdict.ACCEPTED
    verdicts = [row.verdict for row in await _rows(desk.database)]
    assert verdicts == ["held_for_life", "accepted", "accepted", "accepted"]


async def test_a_query_that_comes_twice_is_one_row(desk: Desk) -> None:
    asked, checkouts = query(), _checkouts(desk)
    assert [await checkouts.decide(asked) for _ in range(2)] == [CheckoutVerdict.ACCEPTED] * 2
    assert len(await _rows(desk.database)) == 1


async def test_an_accepted_query_takes_two_statements(desk: Desk) -> None:
    # The buyer's holdings, and the query's own row: a buyer waits for them.
    with statements(desk.database) as said:
        await _checkouts(desk).decide(query())
    assert len(said) == 2


@pytest.mark.criterion("L2", "N3")
async def test_a_subscription_under_a_running_one_is_declined(desk: Desk) -> None:
    running = charge("sub-1", "auto", ends_at=START + timedelta(days=30), is_first=True)
    await desk.take(running)
    checkouts = _checkouts(desk)
    with statements(desk.database) as said:
        assert await checkouts.decide(query("auto")) is PurchaseObstacle.SUBSCRIBED
    # Six more than for any other plan, for a buyer who has subscribed before: the grants, charges, refunds, changes and
    # rows that say which other subscriptions run, each by an index on the user or the charge.
    assert len(said) == 8
    assert await checkouts.decide(replace(query("month"), query_id="7002")) is CheckoutVerdict.ACCEPTED
    someone = replace(query("auto", STRANGER), query_id="7003")
    assert await checkouts.decide(someone) is CheckoutVerdict.ACCEPTED
    desk.clock.advance(days=30)
    assert await checkouts.decide(replace(query("auto"), query_id="7004")) is PurchaseObstacle.SUBSCRIBED
    desk.clock.advance(seconds=UNHEARD.total_seconds())
    assert await checkouts.decide(replace(query("auto"), query_id="7006")) is CheckoutVerdict.ACCEPTED
    desk.clock.advance(seconds=-UNHEARD.total_seconds())
    desk.clock.advance(days=-1)
    await desk.take(refund(running))
    assert await checkouts.decide(replace(query("auto"), query_id="7005")) is CheckoutVerdict.ACCEPTED


@pytest.mark.criterion("L2", "E2", "I9")
async def test_while_the_database_hangs_the_answer_is_no_and_no_row_stays(desk: Desk, database_url: str) -> None:
    checkouts = _checkouts(desk, deadline_seconds=SHORT_SECONDS)
    async with locked(desk.database, database_url, "checkouts"):
        # It returns although the lock is held.
        assert await checkouts.decide(query()) is CheckoutVerdict.TRY_AGAIN
    await checkouts.close()
    assert await _rows(desk.database) == []
    assert await _checkouts(desk).decide(query()) is CheckoutVerdict.ACCEPTED


@pytest.mark.criterion("E2", "I10")
@pytest.mark.engines("postgresql")
async def test_a_connection_that_breaks_is_a_no(desk: Desk) -> None:
    async with breaking_off(desk.database, "INSERT", "checkouts"):
        assert await _checkouts(desk).decide(query()) is CheckoutVerdict.TRY_AGAIN


@pytest.fixture
async def slow_commits(desk: Desk, database_url: str) -> AsyncIterator[asyncio.Event]:
    """Let PostgreSQL wait within each commit that writes a checkout, until the event is set."""
    wait = "BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END"
    trigger = "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON checkouts DEFERRABLE INITIALLY DEFERRED"
    async with desk.database.transaction() as session:
        await session.execute(text(f"CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ {wait} $$"))
        await session.execute(text(f"{trigger} FOR EACH ROW EXECUTE FUNCTION wait()"))
    go_on = asyncio.Event()
    holder = Database(database_url)

    async def hold(held: asyncio.Event) -> None:
        async with holder.transaction() as session:
            await session.execute(text("SELECT pg_advisory_xact_lock(7)"))
            held.set()
            await go_on.wait()

    held = asyncio.Event()
    holding = asyncio.create_task(hold(held))
    await held.wait()
    yield go_on
    go_on.set()
    await holding
    await holder.dispose()


@pytest.mark.criterion("L2")
@pytest.mark.engines("postgresql")
async def test_a_row_that_was_committed_after_the_no_says_so(desk: Desk, slow_commits: asyncio.Event) -> None:
    # Long enough for all but the commit, and shorter than PostgreSQL waits for a lock.
    checkouts = _checkouts(desk, deadline_seconds=1)
    assert await checkouts.decide(query()) is CheckoutVerdict.TRY_AGAIN
    slow_commits.set()
    await checkouts.close()
    assert [row.verdict for row in await _rows(desk.database)] == ["try_again"]


@pytest.mark.engines("postgresql")
async def test_undecided_queries_are_bounded(desk: Desk, database_url: str) -> None:
    checkouts = _checkouts(desk, deadline_seconds=SHORT_SECONDS)
    buyers = [Person(BUYER.telegram_id + number) for number in range(LATE_MAX + 1)]
    queries = [replace(query(buyer=buyer), query_id=str(buyer.telegram_id)) for buyer in buyers]
    async with locked(desk.database, database_url, "checkouts"):
        verdicts = await asyncio.gather(*map(checkouts.decide, queries))
        assert set(verdicts) == {CheckoutVerdict.TRY_AGAIN}
        assert len(checkouts._under_way) == LATE_MAX
    await checkouts.close()
    assert await _rows(desk.database) == []


async def _until_under_way(checkouts: CheckoutDesk, count: int) -> None:
    async def are_under_way() -> bool:
        return len(checkouts._under_way) == count

    await until(are_under_way)


@pytest.mark.engines("postgresql")
async def test_an_account_has_three_under_way_and_others_do_not_wait_behind_them(desk: Desk, database_url: str) -> None:
    checkouts = _checkouts(desk)
    queries = [replace(query(), query_id=str(number)) for number in range(ACCOUNT_MAX)]
    async with locked(desk.database, database_url, "checkouts"):
        under_way = [asyncio.create_task(checkouts.decide(each)) for each in queries]
        await _until_under_way(checkouts, ACCOUNT_MAX)
        # It returns although the lock is held.
        assert await checkouts.decide(replace(query(), query_id="9001")) is CheckoutVerdict.TRY_AGAIN
        others = asyncio.create_task(checkouts.decide(replace(query(buyer=STRANGER), query_id="9002")))
        await _until_under_way(checkouts, ACCOUNT_MAX + 1)
    assert await asyncio.gather(*under_way, others) == [CheckoutVerdict.ACCEPTED] * (ACCOUNT_MAX + 1)
    assert await checkouts.decide(replace(query(), query_id="9003")) is CheckoutVerdict.ACCEPTED
    assert not checkouts._by_account


async def test_an_account_that_is_declined_again_and_again_writes_one_row_a_day_and_payload(desk: Desk) -> None:
    await desk.take(charge(code="life"))
    checkouts = _checkouts(desk)
    asked, another = query("month"), query("month")
    for number in range(5):
        verdict = await checkouts.decide(replace(asked, query_id=str(number)))
        assert verdict is PurchaseObstacle.HELD_FOR_LIFE
    assert [row.query_id for row in await _rows(desk.database)] == ["0"]
    # The same one again, on the next day.
    desk.clock.advance(days=1)
    assert await checkouts.decide(replace(asked, query_id="0")) is PurchaseObstacle.HELD_FOR_LIFE
    await checkouts.decide(replace(asked, query_id="5"))
    await checkouts.decide(replace(another, payload=SIGNER.sign(order("month")), query_id="6"))
    assert [row.query_id for row in await _rows(desk.database)] == ["0", "5", "6"]


@pytest.mark.engines("postgresql")
async def test_rows_that_were_committed_after_the_no_are_one_a_day(desk: Desk, slow_commits: asyncio.Event) -> None:
    checkouts = _checkouts(desk, deadline_seconds=1)
    asked = query()
    queries = [replace(asked, query_id=str(number)) for number in range(ACCOUNT_MAX)]
    verdicts = await asyncio.gather(*map(checkouts.decide, queries))
    assert verdicts == [CheckoutVerdict.TRY_AGAIN] * ACCOUNT_MAX
    slow_commits.set()
    await checkouts.close()
    assert [row.verdict for row in await _rows(desk.database)] == ["try_again"]

"""A transaction that PostgreSQL aborts for another one is retried at once."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from db.engine import Database
from db.retry import TRIES_MAX, retry_transaction
from db.states import CheckoutVerdict, Renewal
from db.tables import Checkout, StripeEvent, User
from payments.checkout import CheckoutDesk
from payments.notices import Admins
from payments.pause import Pause
from payments.payment_desk import PaymentDesk
from payments.recording.recorder import Recorder
from payments.refunds.sending import RefundSender
from payments.settlement.worker import Worker
from payments.waiting import RetryResult
from tests.support.clock import FakeClock
from tests.support.desk import Desk
from tests.support.money import BUYER, CATALOG, SIGNER, charge, charge_update, query
from tests.support.obstacles import refusing
from tests.support.rows import add_user
from tests.support.subscription_facts import paid, row


async def test_both_transactions_of_a_deadlock_succeed(postgresql_database: Database) -> None:
    async with postgresql_database.transaction() as session:
        user_ids = [await add_user(session) for _ in range(2)]
    # Only the first tries meet: a barrier of two lets each through once.
    barrier, passed, tries = asyncio.Barrier(2), set[str](), 0

    @retry_transaction
    async def lock(first: str, second: str) -> None:
        nonlocal tries
        tries += 1
        async with postgresql_database.transaction() as session:
            await session.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
            await session.execute(select(User).where(User.id == first).with_for_update())
            if first not in passed:
                passed.add(first)
                await barrier.wait()
            await session.execute(select(User).where(User.id == second).with_for_update())

    await asyncio.gather(lock(*user_ids), lock(*reversed(user_ids)))
    assert tries == 3


@pytest.mark.parametrize(
    ("sqlstate", "tries"), [("40001", TRIES_MAX), ("40P01", TRIES_MAX), ("55P03", 1), ("23514", 1)]
)
async def test_aborted_transaction_is_retried_a_few_times(
    postgresql_database: Database, sqlstate: str, tries: int
) -> None:
    tried = 0

    @retry_transaction
    async def work() -> None:
        nonlocal tried
        tried += 1
        async with postgresql_database.transaction() as session:
            await add_user(session)

    async with refusing(postgresql_database, "INSERT", "users", sqlstate=sqlstate):
        with pytest.raises(DBAPIError, match="no"):
            await work()
    assert tried == tries


async def _fail_first(database: Database, operation: str, table: str) -> None:
    """Let the first statement of its kind meet a serialization failure, and those after it go through."""
    body = (
        "BEGIN IF nextval('tries') = 1 THEN RAISE EXCEPTION 'not serialized' USING ERRCODE = '40001'; END IF;"
        " RETURN NEW; END"
    )
    async with database.transaction() as session:
        for statement in (
            "CREATE SEQUENCE tries",
            f"CREATE FUNCTION first_fails() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
            f"CREATE TRIGGER first_fails BEFORE {operation} ON {table} FOR EACH ROW EXECUTE FUNCTION first_fails()",
        ):
            await session.execute(text(statement))


async def _count(database: Database, table: type[Any]) -> int:
    async with database.reading() as session:
        return len((await session.scalars(select(table))).all())


async def test_a_buyer_is_not_declined_for_it(postgresql_database: Database, clock: FakeClock) -> None:
    await _fail_first(postgresql_database, "INSERT", "checkouts")
    checkouts = CheckoutDesk(postgresql_database, CATALOG, SIGNER, clock, sells_by_card=False)
    assert await checkouts.decide(query()) is CheckoutVerdict.ACCEPTED
    assert await _count(postgresql_database, Checkout) == 1


async def test_a_payment_is_recorded_in_the_same_poll(postgresql_database: Database, clock: FakeClock) -> None:
    await _fail_first(postgresql_database, "INSERT", "stripe_events")
    recorder = Recorder(postgresql_database, clock, Admins())
    assert len(await recorder.record([charge_update(charge("c1"))])) == 1
    assert recorder.trouble is None
    assert await _count(postgresql_database, StripeEvent) == 1


async def test_a_payment_is_settled_in_the_same_pass(postgresql_database: Database, clock: FakeClock) -> None:
    desk = Desk(postgresql_database, clock)
    await desk.record(charge("c1"))
    await _fail_first(postgresql_database, "INSERT", "entitlement_grants")
    sender = RefundSender(postgresql_database, {}, clock)
    event = await Worker(
        postgresql_database, desk.settlement, sender, clock, on_progress=lambda: None, pause=Pause(clock)
    ).process("c1")
    assert event is not None
    assert event.outcome == "granted"
    assert event.attempts == 0


async def test_transaction_is_read_committed_whatever_the_server_default(postgresql_database: Database) -> None:
    name = postgresql_database._writer.url.database
    async with postgresql_database.transaction() as session:
        await session.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
    await postgresql_database.dispose()
    async with postgresql_database.transaction() as session:
        assert await session.scalar(text("SHOW default_transaction_isolation")) == "serializable"
        assert await session.scalar(text("SHOW transaction_isolation")) == "read committed"


async def test_a_refund_that_is_asked_for_is_put_on_record(postgresql_database: Database, clock: FakeClock) -> None:
    desk = Desk(postgresql_database, clock)
    await desk.record(charge("c1"))
    await desk.settle("c1")
    await _fail_first(postgresql_database, "INSERT", "stripe_events")
    payments = PaymentDesk(postgresql_database, clock)
    refund = (await payments.request_refund("c1", reason="by mistake", requested_by="cli:root")).refund
    assert (refund.refund_of, refund.reason) == ("c1", "by mistake")


async def test_retry_of_a_parked_charge_survives_an_aborted_transaction(
    postgresql_database: Database, clock: FakeClock
) -> None:
    desk = Desk(postgresql_database, clock)
    await desk.record(charge("c1"))
    async with postgresql_database.transaction() as session:
        await session.execute(text("UPDATE stripe_events SET status = 2, outcome = 'parked', due_at = NULL"))
    await _fail_first(postgresql_database, "UPDATE", "stripe_events")
    assert await PaymentDesk(postgresql_database, clock).retry("c1") is RetryResult.BEGUN


async def test_a_cancellation_by_its_subscriber_is_put_on_record(
    postgresql_database: Database, clock: FakeClock
) -> None:
    desk = Desk(postgresql_database, clock)
    await desk.take(paid(1))
    await _fail_first(postgresql_database, "UPDATE", "subscriptions")
    payments = PaymentDesk(postgresql_database, clock)
    assert await payments.cancel_renewal((await row(desk)).id, BUYER.telegram_id) is not None
    assert (await row(desk)).renewal_wanted == Renewal.CANCELED


async def test_a_person_is_erased(postgresql_database: Database, clock: FakeClock) -> None:
    desk = Desk(postgresql_database, clock)
    await desk.record(charge("c1"))
    await _fail_first(postgresql_database, "UPDATE", "users")
    assert await PaymentDesk(postgresql_database, clock).erase(BUYER.telegram_id) is not None

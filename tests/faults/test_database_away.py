"""The database is stopped, hung, or full while people pay: no one pays in vain, and no payment is lost."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import OperationalError

from db.clock import utc_now
from db.engine import Database
from db.migrate import migrate
from db.states import CheckoutVerdict, EventStatus
from db.tables import Checkout, EntitlementGrant, StripeEvent
from db.timings import Timings
from payments.audit.facts import ChargeFact, Person
from payments.checkout import CheckoutDesk
from payments.notices import Admins
from payments.recording.recorder import Recorder
from payments.sale.catalog_file import load_catalog
from payments.sale.payload import Order, PayloadSigner
from sandbox.checkout import PaymentState
from sandbox.client import SandboxClient
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.conftest import BOT_ID
from tests.support.clock import FakeClock
from tests.support.daemon import CATALOG as DAEMON_CATALOG
from tests.support.daemon import TOKEN, running_daemon
from tests.support.desk import Desk
from tests.support.logs import logged
from tests.support.money import CATALOG, SIGNER, charge, charge_update, query
from tests.support.postgresql import Cluster, cluster_directory, remove_cluster
from tests.support.waiting import WAIT_SECONDS, until

ANN: Final = Person(7001, "ann", "en")
PAYMENTS: Final = 20
TRY_AGAIN: Final = "We cannot take payments this minute. Please try again in a minute. Nothing was charged."


@pytest_asyncio.fixture
async def own_cluster() -> AsyncIterator[Cluster]:
    """Give a server that nobody else's tests are on."""
    directory = cluster_directory()
    try:
        cluster = Cluster(directory)
        await cluster.forget_durability()
        yield cluster
    finally:
        remove_cluster(directory)


async def _pay(client: SandboxClient, numbers: range) -> None:
    """Let Telegram tell of payments that were made; each is a charge of its own."""
    plan = load_catalog(DAEMON_CATALOG).on_sale[0]
    order = Order(plan.code, plan.days, plan.subscription, plan.price_stars, "XTR", ANN.telegram_id)
    for number in numbers:
        payload = PayloadSigner(TOKEN).sign(order)
        paid = ChargeFact(f"charge-{number}", ANN, plan.price_stars, "XTR", payload, utc_now())
        await client.push_raw(charge_update(paid))


@pytest.mark.criterion("E2", "C1", "L2")
@pytest.mark.parametrize("fault", [Cluster.stopped, Cluster.hung], ids=["stopped", "hung"])
async def test_postgresql_is_away_under_load(
    own_cluster: Cluster, tmp_path: Path, fault: Callable[[Cluster], AbstractAsyncContextManager[None]]
) -> None:
    url = own_cluster.url("postgres")
    database = Database(url)
    await migrate(database, BOT_ID)
    await database.dispose()
    async with running_sandbox(Settings(token=TOKEN, seed=1)) as server:
        client = server.client
        await client.add_person("Ann", id=ANN.telegram_id, balance_stars=1000, started=True)
        often = Timings(loop_idle_seconds=1)
        with running_daemon(tmp_path, server.url, url, timings=often, RECONCILE_MINUTES="0") as daemon:
            await client.send_text(ANN.telegram_id, "/buy premium_monthly")
            invoice = await client.wait_for(ANN.telegram_id, lambda one: "invoice" in one.message)
            await _pay(client, range(PAYMENTS))
            async with fault(own_cluster):
                await _pay(client, range(PAYMENTS, 2 * PAYMENTS))
                await daemon.until_said("payments wait, unconfirmed, at Telegram")
                # Telegram would have timed out after ten seconds, without a sentence.
                declined = await client.pay(ANN.telegram_id, message_id=invoice.message_id)
                assert (declined.state, declined.error_message) == (PaymentState.DECLINED, TRY_AGAIN)
                waiting = [each.update for each in await client.updates_waiting()]
                assert sum("successful_payment" in update.get("message", {}) for update in waiting) >= PAYMENTS
            await until(lambda: _are_granted(url, 2 * PAYMENTS))
            await client.wait_until_confirmed(timeout_seconds=WAIT_SECONDS)
            paid = await client.pay(ANN.telegram_id, message_id=invoice.message_id)
            assert paid.state is PaymentState.PAID
            await until(lambda: _are_granted(url, 2 * PAYMENTS + 1))
            assert await daemon.stop() == 0
    assert daemon.said().count("payments wait, unconfirmed, at Telegram") == 1
    assert daemon.said().count("payments are recorded and confirmed again") == 1
    assert "another desk" not in daemon.said()
    assert "Traceback" not in daemon.said()


async def _are_granted(url: str, count: int) -> bool:
    """Tell whether so many charges are settled, each with one grant."""
    database = Database(url)
    async with database.reading() as session:
        settled = select(func.count()).where(StripeEvent.status == EventStatus.PROCESSED)
        found = (await session.scalar(settled), await session.scalar(select(func.count(EntitlementGrant.id))))
    await database.dispose()
    return found == (count, count)


async def _fill(database: Database, clock: FakeClock) -> None:
    """Let the file grow no further, and use up what is free in it, to the last rows that a pre-checkout could write."""
    async with database.transaction() as session:
        await session.execute(text("PRAGMA max_page_count = 1"))
    for size in (4000, 400, 1):
        with pytest.raises(OperationalError, match="disk is full"):
            await _write_checkouts(database, size, clock())


async def _write_checkouts(database: Database, size: int, now: datetime) -> None:
    for number in itertools.count():
        row = {"query_id": f"{size}:{number}", "telegram_id": 1, "amount": 1, "currency": "XTR", "verdict": "accepted"}
        async with database.transaction() as session:
            await session.execute(insert(Checkout), row | {"payload": "x" * size, "created_at": now})


@pytest.mark.criterion("E2", "C1", "L2")
async def test_sqlite_is_full(sqlite_database: Database, clock: FakeClock) -> None:
    desk = Desk(sqlite_database, clock)
    recorder = Recorder(sqlite_database, clock, Admins())
    checkouts = CheckoutDesk(sqlite_database, CATALOG, SIGNER, clock, WAIT_SECONDS, sells_by_card=False)
    updates = [charge_update(charge(f"charge-{number}"), number) for number in range(1, 51)]
    await _fill(sqlite_database, clock)
    with logged("ERROR") as records:
        taken = [await recorder.record(updates) for _ in range(3)]
        assert await checkouts.decide(query()) is CheckoutVerdict.TRY_AGAIN
    # None may be confirmed.
    assert taken == [{}, {}, {}]
    (said,) = records
    assert "payments wait, unconfirmed, at Telegram" in said["message"]
    async with sqlite_database.transaction() as session:
        await session.execute(text("PRAGMA max_page_count = 1000000"))
    with logged() as records:
        assert len(await recorder.record(updates)) == len(updates)
    assert [record["message"] for record in records].count(
        "the database is back: payments are recorded and confirmed again"
    ) == 1
    assert await checkouts.decide(query()) is CheckoutVerdict.ACCEPTED
    settled = await desk.settle("charge-1")
    assert settled is not None
    assert settled.status == EventStatus.PROCESSED

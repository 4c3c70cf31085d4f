"""The daemon beside Telegram's ledger: a lost database, comparisons, and errors on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import stamina

from bot.desk.ledger_watch import PAGES_MAX, LedgerWatch, mark_if_lost, open_ledger
from db.clock import utc_now
from db.engine import Database
from db.states import EventOutcome
from db.timings import Timings
from payments.ledger import progress
from payments.notices import Notice
from payments.sale.catalog_file import load_catalog
from payments.sale.payload import Order, PayloadSigner
from sandbox.client import SandboxClient
from sandbox.faults import FaultKind
from sandbox.history import PastPayment
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.support import daemon as daemons
from tests.support.desk import counts
from tests.support.ledger import Books, other_row, row
from tests.support.logs import logged
from tests.support.money import BUYER, charge
from tests.support.obstacles import refusing
from tests.support.waiting import WAIT_SECONDS, until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

IN_A_HURRY: Final = Timings(ledger_retry_seconds=0.01, ledger_breath_seconds=0.01)


@asynccontextmanager
async def _watching(books: Books, pause_minutes: int = 1, pages_max: int = PAGES_MAX) -> AsyncIterator[asyncio.Event]:
    """Run the watch beside the block, and give what is set when a pass is complete."""
    complete = asyncio.Event()
    async with _running(_watch(books, pause_minutes, complete.set, pages_max)):
        yield complete


def _watch(
    books: Books, pause_minutes: int, on_complete: Callable[[], None], pages_max: int = PAGES_MAX
) -> LedgerWatch:
    return LedgerWatch(
        books.desk.database,
        books.whole_pass(),
        books.reconciliation,
        pause_minutes,
        on_complete,
        IN_A_HURRY,
        pages_max,
    )


@asynccontextmanager
async def _running(watch: LedgerWatch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _is_wanted(database: Database) -> bool:
    async with database.reading() as session:
        stand = await progress.find(session)
    return stand is not None and stand.pass_wanted_at is not None


async def test_an_empty_database_beside_a_ledger_with_rows_is_marked(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge())])
    await mark_if_lost(books.desk.database, books.ledger, books.desk.clock)
    assert await _is_wanted(books.desk.database)


async def test_a_new_bots_database_is_not_marked_then_or_later(books: Books, telegram: SandboxClient) -> None:
    await mark_if_lost(books.desk.database, books.ledger, books.desk.clock)
    await telegram.add_rows([row(charge())])
    await mark_if_lost(books.desk.database, books.ledger, books.desk.clock)
    assert not await _is_wanted(books.desk.database)


async def test_a_database_with_payments_in_it_is_not_lost(books: Books, telegram: SandboxClient) -> None:
    await books.desk.record(charge())
    await telegram.add_rows([row(charge())])
    await mark_if_lost(books.desk.database, books.ledger, books.desk.clock)
    assert not await _is_wanted(books.desk.database)
    assert await telegram.calls("getStarTransactions") == []


async def test_a_payment_that_is_taken_before_a_late_pass_is_told_to_its_buyer(
    books: Books, telegram: SandboxClient
) -> None:
    desk = books.desk
    await telegram.add_rows([row(charge("old"))])
    desk.clock.advance(days=1)
    await open_ledger(desk.database, books.ledger, desk.clock)
    await desk.record(charge("new", at=desk.clock.advance(seconds=1)))
    desk.clock.advance(minutes=1)
    assert (await books.whole_pass().run()).outcomes == {EventOutcome.GRANTED: 1, None: 1}
    await desk.settle("new")
    assert await desk.told() == [(Notice.GRANTED, BUYER.telegram_id)]


async def test_a_pass_that_is_wanted_comes_first_then_the_comparison(books: Books, telegram: SandboxClient) -> None:
    books.desk.clock.advance(days=1)
    await telegram.add_rows([row(charge())])
    await books.mark()
    async with _watching(books) as complete:
        await asyncio.wait_for(complete.wait(), 20)
        assert (await books.desk.event("charge-1")).outcome == EventOutcome.GRANTED

        async def is_compared() -> bool:
            return (await books.stand()).compared_at is not None

        await until(is_compared)
    assert await books.desk.told() == []


async def test_without_comparisons_a_pass_is_completed_all_the_same_and_the_desk_goes_on(
    books: Books, telegram: SandboxClient
) -> None:
    await telegram.add_rows([row(charge())])
    await books.mark()
    async with _watching(books, pause_minutes=0) as complete:
        await asyncio.wait_for(complete.wait(), 20)
    assert await telegram.calls("getMyStarBalance") == []


async def test_a_long_ledger_is_read_in_goes_without_waiting_for_the_next_pause(
    books: Books, telegram: SandboxClient
) -> None:
    await telegram.add_rows([row(charge(f"charge-{number:03d}")) for number in range(250)])
    async with _watching(books, pages_max=1):

        async def is_compared() -> bool:
            return (await counts(books.desk.database))["stripe_events"] == 250

        await until(is_compared)


async def test_telegram_away_is_said_and_tried_again(books: Books, telegram: SandboxClient) -> None:
    books.desk.clock.advance(days=1)
    await telegram.add_rows([row(charge())])
    await books.mark()
    await telegram.add_fault(FaultKind.CUT_BEFORE, "getStarTransactions")
    with logged("ERROR") as records, stamina.set_testing(True):
        async with _watching(books) as complete:
            await asyncio.wait_for(complete.wait(), 20)
    assert "could not be read, trying again: TelegramNetworkError" in records[0]["message"]
    assert records[0]["exception"] is None


@pytest.mark.criterion("O7")
async def test_a_ledger_that_cannot_be_read_is_trouble_until_it_can(books: Books, telegram: SandboxClient) -> None:
    watch = _watch(books, pause_minutes=1, on_complete=lambda: None)
    said = "Telegram's ledger could not be read: TelegramServerError"

    async def is_in_trouble() -> bool:
        return watch.trouble == said

    async def is_well() -> bool:
        return watch.trouble is None

    await telegram.add_fault(FaultKind.SERVER_ERROR, "getStarTransactions", count=10_000)
    with stamina.set_testing(True):
        async with _running(watch):
            await until(is_in_trouble)
            await telegram.clear_faults()
            await until(is_well)


async def test_a_bug_is_logged_with_its_trace_and_the_watch_goes_on(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge())])
    async with refusing(books.desk.database, "UPDATE", "ledger"):
        with logged("ERROR") as records:
            async with _watching(books):

                async def is_said_twice() -> bool:
                    return len(records) > 1

                await until(is_said_twice)
    assert records[0]["exception"] is not None
    async with _watching(books, pages_max=1):

        async def is_compared() -> bool:
            return (await counts(books.desk.database))["stripe_events"] == 1

        await until(is_compared)


class Sleeps:
    """Stands in for asyncio.sleep: notes each sleep, and never wakes from the first of `for_ever_seconds`."""

    def __init__(self, for_ever_seconds: float) -> None:
        self.seconds: list[float] = []
        self.is_over = asyncio.Event()
        self._for_ever_seconds = for_ever_seconds

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if seconds == self._for_ever_seconds:
            self.is_over.set()
            await asyncio.Event().wait()


@asynccontextmanager
async def _resting(
    books: Books, monkeypatch: pytest.MonkeyPatch, page_seconds: Sequence[float], for_ever_seconds: float
) -> AsyncIterator[Sleeps]:
    """Run the watch on pages of the ledger that take so long, until it sleeps for so long."""
    sleeps, left, fetch = Sleeps(for_ever_seconds), iter(page_seconds), books.ledger.page

    async def page(offset: int) -> list[Any]:
        books.desk.clock.advance(seconds=next(left))
        return await fetch(offset)

    monkeypatch.setattr(books.ledger, "page", page)
    watch = LedgerWatch(books.desk.database, books.whole_pass(), books.reconciliation, 1, lambda: None, sleep=sleeps)
    async with _running(watch):
        await asyncio.wait_for(sleeps.is_over.wait(), WAIT_SECONDS)
        yield sleeps


@pytest.mark.engines("sqlite")
async def test_comparison_rests_by_what_each_page_took_and_at_most_a_breath(
    books: Books, telegram: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await telegram.add_rows([other_row(number) for number in range(350)])
    # Somebody sets the clock back during the second page.
    async with _resting(books, monkeypatch, [0.05, -5, 2, 0.1], for_ever_seconds=60) as sleeps:
        assert sleeps.seconds == [pytest.approx(0.2), 0, 1, 1, 60]


@pytest.mark.engines("sqlite")
async def test_stop_ends_the_rest_of_a_comparison_at_once(
    books: Books, telegram: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await telegram.add_rows([other_row(number) for number in range(350)])
    async with _resting(books, monkeypatch, [2], for_ever_seconds=1):
        pass
    assert (await books.stand()).row_count == 100


@pytest.mark.engines("sqlite")
async def test_rebuild_does_not_rest(books: Books, telegram: SandboxClient, monkeypatch: pytest.MonkeyPatch) -> None:
    books.desk.clock.advance(days=1)
    await telegram.add_rows([other_row(number) for number in range(350)])
    await books.mark()
    async with _resting(books, monkeypatch, [2, 2, 2, 2, 0], for_ever_seconds=60) as sleeps:
        assert sleeps.seconds == [1, 60]


async def test_a_daemon_that_starts_on_an_empty_database_rebuilds_in_silence_and_sells_on(
    tmp_path: Path, empty_database_url: str, open_database: Callable[[str], Database]
) -> None:
    plan = load_catalog(daemons.CATALOG).on_sale[0]
    async with running_sandbox(Settings(token=daemons.TOKEN)) as server:
        client = server.client
        ann = await client.add_person("Ann", started=True, balance_stars=1000)
        order = Order(plan.code, plan.days, plan.subscription, plan.price_stars, "XTR", ann.id)
        payload = PayloadSigner(daemons.TOKEN).sign(order)
        paid_at = utc_now() - timedelta(days=3)
        past = PastPayment(user_id=ann.id, payload=payload, stars=plan.price_stars, at=paid_at)
        charge_ids = await client.add_past_payments([past] * 120)
        await client.refund_elsewhere(charge_ids[0])
        with daemons.running_daemon(tmp_path, server.url, empty_database_url) as daemon:
            await daemon.until_said("the pass over Telegram's ledger is complete")
            assert await client.calls("sendMessage") == []
            assert (await counts(open_database(empty_database_url)))["entitlement_grants"] == 120
            await client.send_text(ann.id, f"/buy {plan.code}")
            invoice = await client.wait_for(ann.id, lambda one: "invoice" in one.message)
            assert (await client.pay(ann.id, message_id=invoice.message_id)).charge_id is not None
            await client.wait_for_text(ann.id, "Thank you")
            assert await daemon.stop() == 0
        assert await client.calls("refundStarPayment") == []

"""A rebuild while Telegram, the database or a row of the ledger fails."""

from datetime import timedelta
from typing import Any

import pytest
import stamina
from aiogram.exceptions import ClientDecodeError, TelegramNetworkError, TelegramRetryAfter, TelegramUnauthorizedError
from sqlalchemy import select, update

from db.states import EventOutcome, EventStatus
from db.tables import EntitlementGrant, LedgerReading, StripeEvent
from payments.errors import LedgerError
from payments.ledger.fetching import ATTEMPTS_MAX, GetRawStarTransactions, _retry_after_seconds
from payments.settlement.worker import Worker
from sandbox.client import SandboxClient
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer
from tests.support.clock import START
from tests.support.ledger import Books, row
from tests.support.logs import logged
from tests.support.money import charge, refund
from tests.support.obstacles import refusing

pytestmark = [pytest.mark.engines("sqlite", "postgresql"), pytest.mark.usefixtures("_a_year_later")]

DAY = timedelta(days=1)


class _KilledError(Exception):
    """The process died here."""


@pytest.mark.parametrize("fails_at", range(4))
async def test_a_pass_that_broke_off_anywhere_goes_on_and_ends_the_same(
    books: Books, telegram: SandboxClient, worker: Worker, fails_at: int
) -> None:
    charges = [charge(f"charge-{number:03d}", at=START + number * DAY) for number in range(150)]
    await telegram.add_rows([row(each) for each in charges] + [row(refund(charges[7], START + 8 * DAY))])
    steps = 0

    def die(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == fails_at + 1:
            raise _KilledError

    await books.mark()
    with pytest.raises(_KilledError):
        await books.whole_pass().run(on_step=die, on_settled=die)
    assert await worker.work_once() == 0
    await books.whole_pass().run()
    assert await books.desk.expires_at() == START + 149 * 30 * DAY
    async with books.desk.database.reading() as session:
        assert len((await session.scalars(select(EntitlementGrant))).all()) == 150
        open_ones = select(StripeEvent.event_id).where(StripeEvent.status != EventStatus.PROCESSED)
        assert (await session.scalars(open_ones)).all() == []
    assert (await books.stand()).row_count == 151


async def test_a_page_that_fails_half_way_is_taken_whole_by_the_next_try(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge(f"charge-{number:03d}")) for number in range(120)])
    await telegram.add_fault(FaultKind.CUT_BEFORE, "getStarTransactions")
    await telegram.add_fault(FaultKind.RETRY_AFTER, "getStarTransactions", retry_after_seconds=1)
    await telegram.add_fault(FaultKind.SERVER_ERROR, "getStarTransactions")
    with stamina.set_testing(True, attempts=ATTEMPTS_MAX):
        assert (await books.rebuild()).outcomes == {EventOutcome.GRANTED: 120}


def test_a_short_pause_that_telegram_asks_for_is_kept_and_a_refusal_is_not_tried_again() -> None:
    method = GetRawStarTransactions(offset=0)
    assert _retry_after_seconds(TelegramRetryAfter(method, "slow down", 60)) == 60.0
    assert _retry_after_seconds(TelegramRetryAfter(method, "slow down", 61)) is False
    assert _retry_after_seconds(ClientDecodeError("no JSON", ValueError(), "<html>")) is True
    assert _retry_after_seconds(TelegramNetworkError(method, "cut")) is True
    assert _retry_after_seconds(TelegramUnauthorizedError(method, "Unauthorized")) is False


async def test_an_answer_without_a_list_of_rows_is_telegrams_trouble(books: Books, server: SandboxServer) -> None:
    server.world.ledger.page = lambda *_: {"no": "list"}  # type: ignore[method-assign,assignment]  # lies
    with pytest.raises(ClientDecodeError, match="no list of transactions"):
        await books.ledger.page(0)


async def test_rows_that_lie_cost_none_of_the_others(books: Books, server: SandboxServer) -> None:
    good, late = row(charge("good", at=START + 5 * DAY)), row(charge("late", at=START))
    lies: list[Any] = [
        {"id": "no-amount", "date": 1, "source": good["source"]},
        {**row(charge("both")), "receiver": good["source"]},
        {**row(charge("no-direction")), "source": None},
        {**row(charge("x")), "id": "x" * 1025},
        {**row(charge("x")), "amount": "200"},
        {**row(charge("x")), "date": -1},
        row(charge("nobody"), user=None),
        row(charge("no-payload"), invoice_payload=None),
        row(charge("nul", payload="a\0b")),
    ]
    server.world.ledger.rows += [good, *lies, good, late]
    with logged("ERROR") as records:
        report = await books.rebuild()
    assert report.counts.unexplained == len(lies)
    assert len(records) == len(lies)
    assert (report.counts.recovered, report.counts.known) == (2, 1)
    assert report.outcomes == {EventOutcome.GRANTED: 2}
    assert await books.desk.expires_at() == START + 60 * DAY


async def test_a_row_that_the_database_refuses_costs_none_of_the_others(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge("good")), row(charge("bad")), row(charge("fine"))])
    async with refusing(books.desk.database, "INSERT", "stripe_events", when="NEW.event_id = 'bad'"):
        report = await books.rebuild()
    assert report.counts.unexplained == 1
    assert report.outcomes == {EventOutcome.GRANTED: 2}


async def test_an_event_that_cannot_be_settled_is_left_to_the_worker(
    books: Books, telegram: SandboxClient, worker: Worker
) -> None:
    await telegram.add_rows([row(charge("good")), row(charge("bad")), row(charge("fine"))])
    when = "NEW.source = 'telegram_stars:bad'"
    async with refusing(books.desk.database, "INSERT", "entitlement_grants", when=when):
        report = await books.rebuild()
    assert report.outcomes == {EventOutcome.GRANTED: 2, None: 1}
    event = await books.desk.event("bad")
    assert (event.status, event.attempts) == (EventStatus.FAILED, 1)
    books.desk.clock.advance(hours=1)
    await worker.work_once()
    assert (await books.desk.event("bad")).outcome == EventOutcome.GRANTED


async def test_a_shorter_ledger_than_a_broken_off_pass_has_read_is_said(
    books: Books, telegram: SandboxClient, server: SandboxServer
) -> None:
    await telegram.add_rows([row(charge(f"charge-{number}")) for number in range(3)])
    await books.rebuild()
    async with books.desk.database.transaction() as session:
        await session.execute(update(LedgerReading).values(pass_wanted_at=books.desk.clock()))
    server.world.ledger.rows.pop()
    with pytest.raises(LedgerError, match="no longer has the 3 rows"):
        await books.whole_pass().run()

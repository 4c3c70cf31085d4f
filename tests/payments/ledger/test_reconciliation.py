import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import stamina
from aiogram import Bot
from aiogram.exceptions import TelegramNetworkError

from db.states import EventOutcome, EventStatus
from payments.ledger.fetching import TelegramLedger
from payments.ledger.findings import ALERTS_MAX, Finding
from payments.ledger.scan import OVERLAP_ROWS
from payments.notices import Notice
from payments.settlement.worker import Worker
from sandbox.client import SandboxClient
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer
from tests.support.clock import START
from tests.support.ledger import Books, other_row, row
from tests.support.logs import logged
from tests.support.money import ADMIN_CHAT_ID, BUYER, charge, refund
from tests.support.rows import add_other_services_event, add_user
from tests.support.statements import statements

pytestmark = pytest.mark.engines("sqlite", "postgresql")

DAY = timedelta(days=1)


async def test_a_payment_whose_update_was_lost_is_recorded_settled_and_told(
    books: Books, telegram: SandboxClient, worker: Worker
) -> None:
    desk = books.desk
    await telegram.add_rows([row(charge())])
    desk.clock.advance(days=2)
    report = await books.compare()
    assert (report.counts.seen, report.counts.recovered, report.counts.unexplained) == (1, 1, 0)
    assert books.woken == 1
    assert await worker.work_once() == 1
    assert (await desk.event("charge-1")).outcome == EventOutcome.GRANTED
    assert await desk.expires_at() == START + 32 * DAY
    assert await desk.told() == [(Notice.GRANTED, BUYER.telegram_id)]


async def test_a_payment_of_more_than_a_week_ago_is_settled_and_not_told(
    books: Books, telegram: SandboxClient, worker: Worker
) -> None:
    await telegram.add_rows([row(charge())])
    books.desk.clock.advance(days=8)
    await books.compare()
    await worker.work_once()
    assert await books.desk.holds()
    assert await books.desk.told() == []


async def test_a_refund_made_elsewhere_takes_the_access_away(
    books: Books, telegram: SandboxClient, worker: Worker
) -> None:
    desk = books.desk
    await desk.take(charge())
    await telegram.add_rows([row(charge()), row(refund(charge(), START + DAY))])
    desk.clock.advance(days=2)
    report = await books.compare()
    assert (report.counts.seen, report.counts.known, report.counts.refunded) == (2, 1, 1)
    await worker.work_once()
    assert not await desk.holds()
    assert (await desk.event("refund:charge-1")).webhook_timestamp == START + DAY
    assert (Notice.REFUNDED, BUYER.telegram_id) in await desk.told()


async def test_a_refund_that_was_asked_for_and_not_confirmed_learns_that_telegram_has_it(
    books: Books, telegram: SandboxClient
) -> None:
    desk = books.desk
    await desk.take(charge())
    await desk.request_refund("charge-1")
    await telegram.add_rows([row(charge()), row(refund(charge(), START))])
    await books.compare()
    await desk.settle("refund:charge-1")
    event = await desk.event("refund:charge-1")
    assert (event.status, event.requested_by, event.reason) == (EventStatus.PROCESSED, "telegram:42", "wrong plan")
    assert not await desk.holds()


async def test_a_payment_of_another_program_is_recorded_as_foreign_and_other_kinds_are_counted(
    books: Books, telegram: SandboxClient, worker: Worker
) -> None:
    await telegram.add_rows(
        [
            row(charge(payload="another program's")),
            other_row(1),
            other_row(2, kind="fragment"),
            other_row(3, kind="something_new"),
            row(charge("gift"), transaction_type="gift_purchase", gift={"id": "1"}),
            row(charge("media", payload="sold elsewhere"), transaction_type="paid_media_payment", paid_media=[]),
        ]
    )
    report = await books.compare()
    assert report.counts.foreign == 1
    assert report.counts.others == {
        "telegram_ads": 1,
        "fragment": 1,
        "something_new": 1,
        "gift_purchase": 1,
        "paid_media_payment": 1,
    }
    await worker.work_once()
    assert (await books.desk.event("charge-1")).outcome == EventOutcome.FOREIGN
    assert await books.desk.told() == [(Notice.FOREIGN, ADMIN_CHAT_ID)]


async def test_a_payment_seen_both_ways_is_one(books: Books, telegram: SandboxClient) -> None:
    desk = books.desk
    await desk.record(charge())
    await telegram.add_rows([row(charge()), row(charge("charge-2"))])
    await books.compare()
    await desk.take(charge("charge-2"))
    await desk.settle("charge-1")
    assert await desk.expires_at() == START + 60 * DAY
    report = await books.compare(from_start=True)
    assert (report.counts.known, report.counts.recovered) == (2, 0)


async def test_known_charge_is_read_without_a_write(books: Books, telegram: SandboxClient) -> None:
    await books.desk.take(charge())
    await telegram.add_rows([row(charge())])
    await books.compare()
    with statements(books.desk.database) as said:
        report = await books.compare()
    assert report.counts.known == 1
    assert not [each for each in said if "stripe_events" in each and each.startswith(("INSERT", "UPDATE"))]


async def test_next_reconciliation_reads_new_rows_and_an_overlap(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([other_row(number) for number in range(250)])
    assert (await books.compare()).counts.seen == 250
    assert (await books.compare()).counts.seen == OVERLAP_ROWS
    await telegram.add_rows([other_row(300), other_row(301)])
    report = await books.compare()
    assert (report.counts.seen, report.row_count) == (OVERLAP_ROWS + 2, 252)


async def test_a_run_reads_at_most_so_many_pages_and_the_next_goes_on(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([other_row(number) for number in range(250)])
    first = await books.compare(pages_max=1)
    assert (first.counts.seen, first.is_finished) == (100, False)
    second = await books.compare()
    assert (second.row_count, second.is_finished, second.counts.unexplained) == (250, True, 0)


async def test_a_row_that_comes_late_among_those_read_is_found_and_counted_once(
    books: Books, telegram: SandboxClient, server: SandboxServer
) -> None:
    await telegram.add_rows([other_row(number) for number in range(70)])
    await books.compare()
    await telegram.add_rows([row(charge())])
    late = server.world.ledger.rows.pop()
    server.world.ledger.rows.insert(60, late)
    report = await books.compare()
    assert (report.counts.recovered, report.counts.unexplained, report.row_count) == (1, 0, 71)


async def test_dry_run_of_a_reconciliation_writes_nothing(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge()), *(other_row(number) for number in range(150))])
    for _ in range(2):
        report = await books.compare(is_dry=True)
        assert (report.counts.seen, report.counts.recovered, report.counts.unexplained) == (151, 1, 0)
    assert (await books.compare()).counts.recovered == 1


async def test_two_that_compare_at_once_count_each_row_once(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge(f"charge-{number:03d}")) for number in range(250)])
    reports = await asyncio.gather(books.compare(), Books(books.desk, books.ledger).compare())
    assert sum(report.counts.recovered for report in reports) == 250
    stand = await books.stand()
    assert (stand.row_count, stand.payment_stars, stand.event_stars) == (250, 50_000, 50_000)


async def test_difference_to_the_ledger_is_told_once_and_changes_nothing(books: Books, telegram: SandboxClient) -> None:
    desk = books.desk
    await desk.take(charge())
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "charge-2", await add_user(session))
    other = replace(charge("charge-3"), person=replace(BUYER, telegram_id=6000))
    await desk.take(charge("charge-3"))
    said = [row(replace(charge(), amount=199)), row(charge("charge-2")), row(other)]
    await telegram.add_rows(said)
    for _ in range(2):
        report = await books.compare()
        assert [each.finding for each in report.counts.findings] == [
            Finding.AMOUNT_DIFFERS,
            Finding.ANOTHER_SERVICE,
            Finding.USER_DIFFERS,
        ]
    assert await desk.told() == [(Notice.GRANTED, BUYER.telegram_id)] * 2 + [(Notice.LEDGER, ADMIN_CHAT_ID)] * 3
    assert (await desk.event("charge-1")).amount_cents == 200


async def test_an_event_that_the_ledger_does_not_have_after_the_lag_is_told_once(
    books: Books, telegram: SandboxClient
) -> None:
    desk = books.desk
    await telegram.add_rows([other_row()])
    await desk.take(charge())
    await desk.request_refund("charge-1")
    await desk.record(charge("open"))
    desk.clock.advance(minutes=59)
    assert (await books.compare()).counts.unexplained == 0
    desk.clock.advance(minutes=2)
    for _ in range(2):
        report = await books.compare()
        assert {(each.finding, each.about) for each in report.counts.findings} == {
            (Finding.NOT_IN_LEDGER, "charge-1"),
            (Finding.NOT_IN_LEDGER, "open"),
        }
    assert (await desk.told()).count((Notice.LEDGER, ADMIN_CHAT_ID)) == 2


async def test_a_ledger_that_lies_throughout_is_told_a_few_at_a_time(books: Books, server: SandboxServer) -> None:
    server.world.ledger.rows += [{"id": f"lie-{number}"} for number in range(45)]
    for told in (ALERTS_MAX, 2 * ALERTS_MAX, 45, 45):
        assert (await books.compare()).counts.unexplained == 45
        assert len(await books.desk.told()) == told


async def test_finding_of_a_page_is_told_though_the_next_page_fails(
    books: Books, telegram: SandboxClient, server: SandboxServer
) -> None:
    server.world.ledger.rows += [{"id": "a lie"}, *(other_row(number) for number in range(150))]
    await telegram.add_fault(FaultKind.DELAY, "getStarTransactions", delay_seconds=0)
    await telegram.add_fault(FaultKind.CUT_BEFORE, "getStarTransactions")
    with stamina.set_testing(True), pytest.raises(TelegramNetworkError):
        await books.compare()
    assert await books.desk.told() == [(Notice.LEDGER, ADMIN_CHAT_ID)]


async def test_a_balance_that_does_not_add_up_twice_in_the_same_way_is_told_once(
    books: Books, telegram: SandboxClient, server: SandboxServer
) -> None:
    await telegram.add_rows([row(charge())])
    server.world.ledger._balance_nanostars += 1_500_000_000
    for told in (0, 1, 1):
        report = await books.compare()
        (found,) = report.counts.findings
        assert (found.finding, found.here, found.there) == (Finding.BALANCE_OFF, "200", "201.5")
        assert (await books.desk.told()).count((Notice.LEDGER, ADMIN_CHAT_ID)) == told


async def test_a_ledger_shorter_than_what_was_read_is_said_and_nothing_is_destroyed(
    books: Books, telegram: SandboxClient, server: SandboxServer
) -> None:
    await telegram.add_rows([other_row(number) for number in range(60)])
    await books.compare()
    server.world.ledger.rows[:] = server.world.ledger.rows[:3]
    with logged("ERROR") as records:
        report = await books.compare()
    assert report.is_broken
    assert [(each.finding, each.here) for each in report.counts.findings] == [(Finding.LEDGER_SHORTER, 60)]
    assert "ledger_shorter" in records[0]["message"]
    assert (await books.stand()).row_count == 60
    report = await books.compare(from_start=True)
    assert (report.row_count, report.is_broken) == (3, False)


async def test_another_ledger_of_the_same_length_is_told_from_the_one_that_was_read(
    books: Books, telegram: SandboxClient, server: SandboxServer
) -> None:
    await telegram.add_rows([other_row(number) for number in range(60)])
    await books.compare()
    server.world.ledger.rows.clear()
    await telegram.add_rows([row(charge(f"charge-{number}")) for number in range(100)])
    report = await books.compare()
    assert report.is_broken
    assert report.counts.recovered == 0


@pytest.mark.criterion("N11")
async def test_reconciliation_is_dated_by_its_last_page(books: Books, telegram: SandboxClient, bot: Bot) -> None:
    """A row that comes in during the question for the balance, or while Telegram is away, was not read."""

    class SlowLedger(TelegramLedger):
        async def balance_nanostars(self) -> int | None:
            books.desk.clock.advance(minutes=30)
            return await super().balance_nanostars()

    await telegram.add_rows([row(charge())])
    began_at = books.desk.clock()
    await Books(books.desk, SlowLedger(bot)).compare()
    assert (await books.stand()).compared_at == began_at

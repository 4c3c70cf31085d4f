import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import stamina
from aiogram.exceptions import ClientDecodeError, TelegramNetworkError, TelegramRetryAfter, TelegramUnauthorizedError
from sqlalchemy import select, update

from db.engine import Database
from db.tables import EntitlementGrant, EventOutcome, EventStatus, LedgerReading, StripeEvent, User
from db.users import lock_users
from entitlements.fold import SLACK
from entitlements.service import EntitlementService
from entitlements.standings import defer_standings
from payments.audit.facts import RefundFact, ReturnFact
from payments.effects import OutwardEffects
from payments.errors import LedgerError
from payments.ledger.fetching import ATTEMPTS_MAX, GetRawStarTransactions, _retry_after_seconds
from payments.notices import Notice
from payments.sale.eligibility import PurchaseObstacle
from payments.sale.payload import PayloadSigner
from payments.settlement.judgement import ChargeProblem
from payments.settlement.settlement import Settlement
from payments.settlement.worker import Worker
from payments.subscriptions.chain import Terms
from sandbox.client import SandboxClient
from sandbox.faults import FaultKind
from sandbox.server import SandboxServer
from tests.support.cards import card_charge
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.ledger import Books, other_row, row
from tests.support.logs import logged
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, CATALOG, SIGNER, STRANGER, charge, order, refund
from tests.support.obstacles import refusing
from tests.support.subscription_facts import MONTH, paid, rows

pytestmark = pytest.mark.engines("sqlite", "postgresql")

DAY = timedelta(days=1)
LOST = PayloadSigner("1000001:a-token-that-is-lost")


class _KilledError(Exception):
    """The process died here."""


@pytest.fixture(autouse=True)
def _a_year_later(desk: Desk) -> None:
    desk.clock.advance(days=365)


async def test_payments_and_refunds_become_access_at_telegrams_dates_in_silence(
    books: Books, telegram: SandboxClient
) -> None:
    await telegram.add_rows(
        [
            row(charge("charge-1")),
            row(charge("charge-2", at=START + DAY)),
            row(refund(charge("charge-1"), START + 2 * DAY)),
            other_row(),
        ]
    )
    report = await books.rebuild()
    assert (report.counts.recovered, report.counts.refunded, report.row_count) == (2, 1, 4)
    assert report.outcomes == {EventOutcome.GRANTED: 2, EventOutcome.REFUNDED: 1}
    assert await books.desk.expires_at() == START + 31 * DAY
    assert await books.desk.told() == []
    async with books.desk.database.reading() as session:
        grants = {grant.source: grant.revoked_at for grant in await session.scalars(select(EntitlementGrant))}
    assert grants == {"telegram_stars:charge-1": START + 2 * DAY, "telegram_stars:charge-2": None}


@pytest.mark.parametrize("batch", [1, 100])
async def test_a_refund_that_is_dated_before_its_payment_takes_the_access_away_all_the_same(
    books: Books, telegram: SandboxClient, batch: int
) -> None:
    await telegram.add_rows([row(charge(at=START + DAY)), row(refund(charge(), START))])
    await books.mark()
    report = await books.whole_pass(batch_events=batch).run()
    assert report.outcomes == {EventOutcome.GRANTED: 1, EventOutcome.REFUNDED: 1}
    access = await books.desk.access()
    assert access is not None
    assert access.revoked_at == START


async def test_what_would_go_back_by_itself_is_parked_and_nothing_is_called(
    books: Books, telegram: SandboxClient
) -> None:
    charges = [
        charge("charge-1", payer=STRANGER, buyer=BUYER),
        charge("charge-2", "life"),
        charge("charge-3", at=START + DAY),
        charge("charge-4", payload="another program's"),
        charge("charge-5", payload="sl1:damaged"),
    ]
    await telegram.add_rows([row(each) for each in charges])
    report = await books.rebuild()
    assert report.outcomes == {EventOutcome.GRANTED: 1, EventOutcome.FOREIGN: 1, EventOutcome.PARKED: 3}
    reasons = {event_id: (await books.desk.event(event_id)).error for event_id in ("charge-1", "charge-3", "charge-5")}
    assert reasons == {
        "charge-1": PurchaseObstacle.NOT_THE_BUYER,
        "charge-3": PurchaseObstacle.HELD_FOR_LIFE,
        "charge-5": ChargeProblem.DAMAGED_PAYLOAD,
    }
    assert await books.desk.told() == []
    assert await telegram.calls("refundStarPayment") == []


async def test_what_came_in_since_the_pass_began_is_left_to_be_told(
    books: Books, telegram: SandboxClient, worker: Worker
) -> None:
    desk = books.desk
    now = desk.clock()
    await telegram.add_rows([row(charge("old")), row(charge("new", at=now)), row(charge("newer", at=now))])
    whole = books.rebuild()
    # An update of a payment that is made while the pass runs.
    recorded = asyncio.Event()
    taken = books.ledger.page

    async def page(offset: int) -> list[Any]:
        if not recorded.is_set():
            recorded.set()
            await desk.record(charge("new", at=now))
        return await taken(offset)

    books.ledger.page = page  # type: ignore[method-assign]  # between the mark and the first page
    assert (await whole).outcomes == {EventOutcome.GRANTED: 1, None: 1}
    assert await desk.told() == []
    await worker.work_once()
    await books.compare()
    await worker.work_once()
    assert await desk.told() == [(Notice.GRANTED, BUYER.telegram_id)] * 2
    assert await desk.expires_at() == now + 60 * DAY


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


async def test_one_row_with_a_date_to_come_keeps_none_of_those_behind_it_from_the_pass(
    books: Books, telegram: SandboxClient
) -> None:
    charges = [charge(f"charge-{number:03d}") for number in range(250)]
    for number in (3, 99, 199):
        charges[number] = replace(charges[number], happened_at=START + 9999 * DAY)
    await telegram.add_rows([row(each) for each in charges])
    report = await books.rebuild()
    assert (report.row_count, report.outcomes) == (250, {EventOutcome.GRANTED: 250})
    assert await books.desk.told() == []


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


async def test_a_restored_copy_learns_what_it_missed_and_gives_no_old_time_anew(
    books: Books, telegram: SandboxClient
) -> None:
    desk = books.desk
    desk.clock.now = START
    await desk.take(charge("kept"))
    await desk.record(charge("open", at=START + timedelta(hours=1)))
    await desk.take(charge("refunded-since"))
    asked = await desk.request_refund("kept", reply_chat_id=42)
    told = await desk.told()
    since = [charge("day-3", at=START + 3 * DAY), charge("day-19", at=START + 19 * DAY)]
    rows = [charge("kept"), charge("refunded-since"), charge("open", at=START + timedelta(hours=1)), *since]
    await telegram.add_rows(
        [
            *map(row, rows),
            row(refund(charge("refunded-since"), START + 5 * DAY)),
            row(refund(charge("kept"), START + timedelta(minutes=1))),
        ]
    )
    desk.clock.now = START + 20 * DAY
    report = await books.rebuild()
    assert (report.counts.recovered, report.counts.refunded, report.counts.known) == (2, 1, 4)
    assert await desk.told() == told
    assert (await desk.event(asked.event_id)).requested_by == "telegram:42"
    async with desk.database.reading() as session:
        sources = {grant.source for grant in await session.scalars(select(EntitlementGrant))}
    assert not any(source.startswith("delay:") for source in sources)
    assert await desk.expires_at() == START + timedelta(hours=1) + 90 * DAY


@pytest.mark.criterion("N3")
async def test_a_subscription_whose_link_was_paid_twice_is_no_longer_for_it(
    books: Books, telegram: SandboxClient
) -> None:
    twin = paid(1, at=START + timedelta(seconds=4), charge_id="twin-1")
    back = refund(twin, START + timedelta(minutes=1))
    books.desk.clock.now = START + 45 * DAY
    await telegram.add_rows([row(paid(1)), row(twin), row(back), row(paid(2))])
    await books.rebuild()
    assert await books.desk.expires_at() == START + 2 * MONTH + SLACK
    assert [(each.first_charge_id, each.last_charge_id, each.paid_until) for each in await rows(books.desk)] == [
        ("sub-1", "sub-2", START + 2 * MONTH),
        ("twin-1", "twin-1", None),
    ]


async def test_under_an_old_token_at_hand_payments_are_settled(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge(payload=LOST.sign(order("month"))))])
    both = PayloadSigner("1000001:the-token-in-use", ["1000001:a-token-that-is-lost"])
    assert (await books.rebuild(both)).outcomes == {EventOutcome.GRANTED: 1}


async def test_under_a_lost_token_payments_are_parked_and_settled_when_told_to_trust_them(
    books: Books, telegram: SandboxClient
) -> None:
    forged = [
        charge("good", payload=LOST.sign(order("month"))),
        replace(charge("cheap", payload=LOST.sign(order("month"))), amount=1),
        charge("stolen", payer=STRANGER, payload=LOST.sign(order("month"))),
        charge("garbled", payload="sl1:garbled"),
    ]
    commission = row(replace(charge("commission", payload=LOST.sign(order("month"))), amount=180))
    commission["source"]["affiliate"] = {"commission_per_mille": 100, "amount": 20}
    await telegram.add_rows([*map(row, forged), commission])
    assert (await books.rebuild()).outcomes == {EventOutcome.PARKED: 5}
    report = await books.rebuild(trusts_unsigned=True)
    assert report.outcomes == {EventOutcome.GRANTED: 2, EventOutcome.PARKED: 3}
    assert (await books.desk.event("cheap")).error == ChargeProblem.WRONG_AMOUNT
    assert (await books.desk.event("stolen")).error == PurchaseObstacle.NOT_THE_BUYER
    assert await books.desk.told() == []


async def test_a_commission_changes_no_price(books: Books, telegram: SandboxClient) -> None:
    sold = row(replace(charge(), amount=180))
    sold["source"]["affiliate"] = {"commission_per_mille": 100, "amount": 20}
    odd = row(charge("charge-2"))
    odd["nanostar_amount"] = 500_000_000
    await telegram.add_rows([sold, odd])
    await books.rebuild()
    assert (await books.desk.event("charge-1")).amount_cents == 200
    assert await books.desk.expires_at() == START + 60 * DAY
    assert (await books.compare(from_start=True)).counts.unexplained == 0


async def test_a_payment_told_as_paid_media_is_known_by_its_payload_and_its_refund_by_its_charge(
    books: Books, telegram: SandboxClient
) -> None:
    odd = row(charge())
    partner = odd["source"]
    partner["transaction_type"] = "paid_media_payment"
    partner["paid_media_payload"] = partner.pop("invoice_payload")
    back = row(refund(charge(), START + DAY), transaction_type="paid_media_payment", paid_media=[])
    del back["receiver"]["invoice_payload"]
    await telegram.add_rows([odd, back])
    report = await books.rebuild()
    assert report.outcomes == {EventOutcome.GRANTED: 1, EventOutcome.REFUNDED: 1}
    access = await books.desk.access()
    assert access is not None
    assert access.revoked_at == START + DAY


async def test_standings_written_at_the_end_are_those_written_one_by_one(database: Database, desk: Desk) -> None:
    await desk.take(charge("1"))
    user_id = await desk.user_id()
    async with database.transaction() as session:
        await lock_users(session, User.id == user_id)
        service = EntitlementService(session)
        async with defer_standings(session):
            for number in range(3):
                await service.grant_entitlement(
                    user_id, "premium", f"manual:{number}", granted_at=START, duration_days=10
                )
            await service.revoke_entitlement("manual:0", at=START, reason="no")
            await service.grant_entitlement(user_id, "archive", "manual:1", granted_at=START)
    assert await desk.expires_at() == START + 50 * DAY
    assert await desk.expires_at("archive") is None
    settlement = Settlement(CATALOG, SIGNER, desk.clock, OutwardEffects(desk.clock, ADMINS), terms=Terms())
    await Desk(database, desk.clock, settlement).take(charge("2"))
    assert await desk.expires_at() == START + 80 * DAY


@pytest.mark.criterion("I5")
async def test_a_card_payment_that_was_open_before_keeps_its_own_source(books: Books, telegram: SandboxClient) -> None:
    await books.desk.record(card_charge("ch_1"))
    books.desk.clock.advance(hours=1)
    await telegram.add_rows([row(charge("charge-1"))])
    await books.rebuild()
    async with books.desk.database.reading() as session:
        sources = (await session.scalars(select(EntitlementGrant.source).order_by(EntitlementGrant.source))).all()
    assert sources == ["stripe:ch_1", "telegram_stars:charge-1"]


@pytest.mark.criterion("R6")
async def test_a_refund_that_came_back_unsettled_is_told_after_the_pass(books: Books, worker: Worker) -> None:
    desk = books.desk
    sold = await desk.take(card_charge("ch_1"))
    given_back = RefundFact(sold.event_id, BUYER, 499, "USD", desk.clock() + DAY)
    await desk.take(given_back)
    desk.clock.advance(days=2)
    returned = ReturnFact(sold.event_id, given_back.event_id, BUYER, 499, "USD", desk.clock(), "unknown")
    await desk.record(returned)
    desk.clock.advance(minutes=1)
    await books.rebuild()
    assert await desk.told(returned.event_id) == []
    await worker.work_once()
    assert await desk.told(returned.event_id) == [(Notice.REFUND_FAILED, ADMIN_CHAT_ID)]
    assert (await desk.event(returned.event_id)).outcome == EventOutcome.RETURNED

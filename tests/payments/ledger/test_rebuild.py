"""A rebuild: access from the rows of Telegram's ledger, in silence."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from db.engine import Database
from db.states import EventOutcome
from db.tables import EntitlementGrant, User
from db.users import lock_users
from entitlements.fold import SLACK
from entitlements.service import EntitlementService
from entitlements.standings import defer_standings
from payments.audit.facts import RefundFact, ReturnFact
from payments.effects import OutwardEffects
from payments.notices import Notice
from payments.sale.eligibility import PurchaseObstacle
from payments.settlement.judgement import ChargeProblem
from payments.settlement.settlement import Settlement
from payments.settlement.worker import Worker
from payments.subscriptions.chain import Terms
from sandbox.client import SandboxClient
from tests.support.cards import card_charge
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.ledger import Books, other_row, row
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, CATALOG, SIGNER, STRANGER, charge, refund
from tests.support.subscription_facts import MONTH, paid, rows

pytestmark = [pytest.mark.engines("sqlite", "postgresql"), pytest.mark.usefixtures("_a_year_later")]

DAY = timedelta(days=1)


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


async def test_rebuild_parks_automatic_refunds_and_calls_nothing(books: Books, telegram: SandboxClient) -> None:
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


async def test_charge_that_arrives_during_a_rebuild_is_told_afterwards(
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


async def test_future_dated_row_does_not_stop_the_rebuild(books: Books, telegram: SandboxClient) -> None:
    charges = [charge(f"charge-{number:03d}") for number in range(250)]
    for number in (3, 99, 199):
        charges[number] = replace(charges[number], happened_at=START + 9999 * DAY)
    await telegram.add_rows([row(each) for each in charges])
    report = await books.rebuild()
    assert (report.row_count, report.outcomes) == (250, {EventOutcome.GRANTED: 250})
    assert await books.desk.told() == []


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

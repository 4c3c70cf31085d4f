"""Payments in the database: the tests that came with the order for the desk, by their given names."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import func, select

from db.engine import Database
from db.states import EventOutcome, EventStatus
from db.tables import EntitlementGrant, StripeEvent
from payments.audit.history import EntryState, read_page
from payments.notices import Notice
from payments.recording.recorder import Recorder
from payments.settlement.worker import Worker
from payments.telegram import TelegramPaymentHandler
from tests.support.cards import card_charge, card_update
from tests.support.clock import START
from tests.support.desk import Desk, dump
from tests.support.money import ADMINS, STRANGER, charge, charge_update, refund
from tests.support.rows import add_other_services_event

pytestmark = pytest.mark.engines("sqlite", "postgresql")

MONTH: Final = timedelta(days=30)


@pytest.mark.criterion("C1", "C7", "C8", "I1")
async def test_successful_payment_creates_event_and_grants_entitlement(desk: Desk, worker: Worker) -> None:
    # As the daemon does it: the raw update on record, then the work.
    await Recorder(desk.database, desk.clock, ADMINS).record([charge_update(charge())])
    assert (await desk.event("charge-1")).status == EventStatus.PENDING
    await worker.work_once()
    assert (await desk.event("charge-1")).status == EventStatus.PROCESSED
    async with desk.database.reading() as session:
        (grant,) = (await session.scalars(select(EntitlementGrant))).all()
    assert (grant.user_id, grant.entitlement_type) == (await desk.user_id(), "premium")
    assert (grant.source, grant.granted_at, grant.duration_days) == ("telegram_stars:charge-1", START, 30)


@pytest.mark.criterion("R2", "R5", "R7")
async def test_refund_creates_refund_event(desk: Desk, handler: TelegramPaymentHandler) -> None:
    await handler.handle_successful_payment(charge())
    await desk.request_refund("charge-1")
    event = await desk.event("refund:charge-1")
    assert (event.event_type, event.refund_of, event.status) == ("telegram_stars.refunded", "charge-1", 0)
    assert (event.reason, event.requested_by) == ("wrong plan", "telegram:42")
    # Telegram's word of it is the same row.
    await handler.handle_refund(refund(charge()))
    event = await desk.event("refund:charge-1")
    assert (event.status, event.webhook_timestamp, event.requested_by) == (1, START, "telegram:42")


@pytest.mark.criterion("C3", "S10")
async def test_idempotent_payment_processing(desk: Desk, handler: TelegramPaymentHandler, database_url: str) -> None:
    paid = charge()
    await handler.handle_successful_payment(paid)
    async with desk.database.reading() as session:
        before = await dump(session)
    another_process = Desk(Database(database_url), desk.clock)
    desk.clock.advance(days=1)
    await asyncio.gather(another_process.take(paid), handler.handle_successful_payment(paid))
    await another_process.database.dispose()
    async with desk.database.reading() as session:
        assert await dump(session) == before


@pytest.mark.criterion("C4", "O5", "S12")
async def test_payment_error_recorded_in_database(desk: Desk, handler: TelegramPaymentHandler) -> None:
    event = await handler.handle_successful_payment(replace(charge(), amount=1))
    assert event is not None
    recorded = await desk.event("charge-1")
    assert (recorded.status, recorded.outcome, recorded.error) == (2, EventOutcome.PARKED, "wrong_amount")
    assert recorded.amount_cents == 1
    assert not await desk.holds()


@pytest.mark.criterion("O8")
async def test_query_user_payment_history(desk: Desk, handler: TelegramPaymentHandler) -> None:
    for number in (1, 2):
        await handler.handle_successful_payment(charge(str(number), at=START + timedelta(minutes=number)))
    await handler.handle_successful_payment(charge("a stranger's", payer=STRANGER))
    await handler.handle_refund(refund(charge("1"), START + timedelta(minutes=3)))
    user_id = await desk.user_id()
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "by card", user_id)
    async with desk.database.reading() as session:
        entries = (await read_page(session, user_id)).entries
    assert [(entry.event.event_id, entry.state) for entry in entries] == [
        ("refund:1", EntryState.DONE),
        ("2", EntryState.DONE),
        ("1", EntryState.GIVEN_BACK),
        ("by card", EntryState.DONE),
    ]


@pytest.mark.criterion("C7", "S8")
async def test_transaction_consistency_on_concurrent_updates(desk: Desk, handler: TelegramPaymentHandler) -> None:
    facts = [charge(str(number)) for number in range(10)]
    await desk.record(*facts)
    grants = select(func.count()).select_from(EntitlementGrant)
    settled = select(func.count()).select_from(StripeEvent).where(StripeEvent.status == EventStatus.PROCESSED)
    # One statement sees one state of the database.
    both = select(grants.scalar_subquery(), settled.scalar_subquery())
    seen: list[tuple[int, int]] = []

    async def watch() -> None:
        while not seen or seen[-1] != (10, 10):
            async with desk.database.reading() as session:
                granted, processed = (await session.execute(both)).one()
            seen.append((granted, processed))

    async with asyncio.timeout(20):
        await asyncio.gather(watch(), *map(handler.handle_successful_payment, facts))
    assert [pair for pair in seen if pair[0] != pair[1]] == []
    assert await desk.expires_at() == START + 10 * MONTH


@pytest.mark.criterion("I5", "I6")
async def test_payment_method_consistency_telegram_vs_stripe(desk: Desk, handler: TelegramPaymentHandler) -> None:
    stars, card = charge(), card_charge("ch_1")
    for paid in (stars, card):
        await handler.handle_successful_payment(paid)
        await handler.handle_refund(refund(paid))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "ch_1", await desk.user_id())
        await add_other_services_event(session, "re_1", await desk.user_id(), "charge.refunded")
    async with desk.database.reading() as session:
        events = (await session.scalars(select(StripeEvent))).all()
    assert Counter((event.payment_method, event.currency, event.event_type) for event in events) == {
        ("telegram_stars", "XTR", "telegram_stars.successful_payment"): 1,
        ("telegram_stars", "XTR", "telegram_stars.refunded"): 1,
        ("stripe", "USD", "stripe.successful_payment"): 1,
        ("stripe", "USD", "stripe.refunded"): 1,
        ("stripe", "USD", "charge.succeeded"): 1,
        ("stripe", "USD", "charge.refunded"): 1,
    }


@pytest.mark.criterion("I5")
async def test_a_charge_whose_row_another_way_to_pay_has_is_set_aside_and_alerts(desk: Desk) -> None:
    # A charge in Stars whose id is, letter by letter, the row of a card's.
    await desk.take(charge("stripe:ch_1"))
    recorder = Recorder(desk.database, desk.clock, ADMINS)
    assert await recorder.record([card_update(card_charge("ch_1"))]) == {1: None}
    assert (await desk.event("stripe:ch_1")).payment_method == "telegram_stars"
    assert [notice for notice, _ in await desk.told()][-1] is Notice.QUARANTINED
    assert await desk.expires_at() == START + MONTH


@pytest.mark.criterion("O4")
async def test_event_ordering_by_creation_time(desk: Desk, handler: TelegramPaymentHandler) -> None:
    # In the order of recording, which is neither that of the ids nor Telegram's: an update may come late.
    recorded = []
    for charge_id, paid_at in (("b", START), ("c", START - timedelta(minutes=5)), ("a", START - timedelta(minutes=1))):
        await handler.handle_successful_payment(charge(charge_id, at=paid_at))
        recorded.append((charge_id, desk.clock()))
        desk.clock.advance(seconds=1)
    by_creation = select(StripeEvent.event_id, StripeEvent.created_at).order_by(StripeEvent.created_at)
    async with desk.database.reading() as session:
        assert [tuple(row) for row in await session.execute(by_creation)] == recorded


@pytest.mark.criterion("S3", "I6")
async def test_payment_amount_aggregation(desk: Desk, handler: TelegramPaymentHandler) -> None:
    for charge_id, code in (("1", "month"), ("2", "bundle"), ("3", "month")):
        await handler.handle_successful_payment(charge(charge_id, code))
    await handler.handle_refund(refund(charge("3")))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "ch_1", await desk.user_id(), amount_cents=499)
    sums = select(StripeEvent.event_type, StripeEvent.currency, func.sum(StripeEvent.amount_cents)).group_by(
        StripeEvent.event_type, StripeEvent.currency
    )
    async with desk.database.reading() as session:
        assert {tuple(row) for row in await session.execute(sums)} == {
            ("telegram_stars.successful_payment", "XTR", 700),
            ("telegram_stars.refunded", "XTR", 200),
            ("charge.succeeded", "USD", 499),
        }

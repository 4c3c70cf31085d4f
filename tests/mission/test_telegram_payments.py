"""Payments in Stars: the tests that came with the order for the desk, by their given names."""

import asyncio
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import select

from db.states import EventOutcome, EventStatus
from db.tables import Checkout, EntitlementGrant, StripeEvent
from entitlements import EntitlementService
from payments.settlement.worker import Worker
from payments.telegram import TelegramPaymentHandler
from sandbox.client import SandboxClient
from sandbox.history import PastPayment
from tests.support.cards import card_charge
from tests.support.clock import START
from tests.support.desk import Desk, counts
from tests.support.money import BUYER, charge, query, refund
from tests.support.obstacles import refusing
from tests.support.rows import add_other_services_event

pytestmark = pytest.mark.engines("sqlite", "postgresql")

MONTH: Final = timedelta(days=30)


@pytest.mark.criterion("I1", "I2")
async def test_successful_payment_grants_entitlement(desk: Desk, handler: TelegramPaymentHandler) -> None:
    await handler.handle_successful_payment(charge())
    user_id = await desk.user_id()
    async with desk.database.reading() as session:
        service = EntitlementService(session)
        moments = (START - timedelta(seconds=1), START, START + MONTH - timedelta(seconds=1), START + MONTH)
        held = [await service.has_entitlement(user_id, "premium", moment) for moment in moments]
    assert held == [False, True, True, False]


@pytest.mark.criterion("C2", "C8")
async def test_successful_payment_creates_event_record(desk: Desk, handler: TelegramPaymentHandler) -> None:
    paid = charge()
    await handler.handle_successful_payment(paid)
    async with desk.database.reading() as session:
        (event,) = (await session.scalars(select(StripeEvent))).all()
    assert (event.event_id, event.customer_id) == (paid.charge_id, await desk.user_id())
    assert (event.payment_method, event.amount_cents, event.currency) == ("telegram_stars", 200, "XTR")
    assert (event.status, event.webhook_timestamp, event.processed_at) == (1, paid.happened_at, desk.clock())


@pytest.mark.criterion("C3")
async def test_duplicate_payment_not_processed_twice(desk: Desk, handler: TelegramPaymentHandler) -> None:
    for _ in range(3):
        await handler.handle_successful_payment(charge())
    assert await desk.expires_at() == START + MONTH
    rows = await counts(desk.database)
    assert (rows["stripe_events"], rows["entitlement_grants"], rows["outbox"]) == (1, 1, 1)


@pytest.mark.criterion("R1", "R4", "I4")
async def test_refund_revokes_entitlement(desk: Desk, handler: TelegramPaymentHandler) -> None:
    await handler.handle_successful_payment(charge())
    assert await desk.holds()
    await handler.handle_refund(refund(charge()))
    assert not await desk.holds()


@pytest.mark.criterion("R2", "R5")
async def test_refund_creates_event_record(desk: Desk, handler: TelegramPaymentHandler) -> None:
    await handler.handle_successful_payment(charge())
    refunded_at = desk.clock.advance(hours=1)
    await handler.handle_refund(refund(charge(), refunded_at))
    assert (await counts(desk.database))["stripe_events"] == 2
    event = await desk.event("refund:charge-1")
    assert (event.refund_of, event.amount_cents, event.currency) == ("charge-1", 200, "XTR")
    assert (event.status, event.outcome, event.webhook_timestamp) == (1, EventOutcome.REFUNDED, refunded_at)


@pytest.mark.criterion("E5", "S12")
async def test_entitlement_service_failure_recorded(desk: Desk, handler: TelegramPaymentHandler) -> None:
    async with refusing(desk.database, "INSERT", "entitlement_grants"):
        await handler.handle_successful_payment(charge())
    event = await desk.event("charge-1")
    assert (event.status, event.attempts, event.processed_at) == (EventStatus.FAILED, 1, None)
    assert "IntegrityError" in (event.error or "")
    assert not await desk.holds()


@pytest.mark.criterion("I6")
async def test_successful_payment_event_type_is_telegram_stars(handler: TelegramPaymentHandler) -> None:
    event = await handler.handle_successful_payment(charge())
    assert event is not None
    assert event.event_type == "telegram_stars.successful_payment"


@pytest.mark.criterion("I6")
async def test_refund_event_type_is_telegram_stars_refunded(handler: TelegramPaymentHandler) -> None:
    await handler.handle_successful_payment(charge())
    event = await handler.handle_refund(refund(charge()))
    assert event is not None
    assert event.event_type == "telegram_stars.refunded"


@pytest.mark.criterion("O3", "O4", "O5", "R7")
async def test_full_payment_flow_creates_audit_trail(
    desk: Desk, handler: TelegramPaymentHandler, worker: Worker, telegram: SandboxClient
) -> None:
    await handler.validate_pre_checkout(query())
    await telegram.add_person("Buyer", id=BUYER.telegram_id)
    past = PastPayment(BUYER.telegram_id, query().payload, 200, START)
    (charge_id,) = await telegram.add_past_payments([past])
    paid_at = desk.clock.advance(seconds=2)
    await handler.handle_successful_payment(charge(charge_id))
    asked_at = desk.clock.advance(hours=1)
    await desk.request_refund(charge_id)
    done_at = desk.clock.advance(minutes=1)
    await worker.work_once()

    async with desk.database.reading() as session:
        (started,) = (await session.scalars(select(Checkout))).all()
    assert (started.telegram_id, started.verdict, started.created_at) == (BUYER.telegram_id, "accepted", START)
    paid, refunded = await desk.event(charge_id), await desk.event(f"refund:{charge_id}")
    assert (paid.webhook_timestamp, paid.created_at, paid.processed_at) == (START, paid_at, paid_at)
    assert (refunded.created_at, refunded.processed_at) == (asked_at, done_at)
    assert (refunded.refund_of, refunded.reason, refunded.requested_by) == (charge_id, "wrong plan", "telegram:42")
    assert [(event.status, event.outcome) for event in (paid, refunded)] == [(1, "granted"), (1, "refunded")]


@pytest.mark.criterion("R4", "R8")
async def test_payment_and_refund_sequence(desk: Desk, handler: TelegramPaymentHandler) -> None:
    await handler.handle_successful_payment(charge("1"))
    assert await desk.holds()
    await handler.handle_refund(refund(charge("1")))
    assert not await desk.holds()
    await handler.handle_successful_payment(charge("2"))
    # The first one's refund once more takes nothing of the second away.
    await handler.handle_refund(refund(charge("1")))
    assert await desk.expires_at() == START + MONTH
    await handler.handle_refund(refund(charge("2")))
    assert not await desk.holds()


@pytest.mark.criterion("S9")
async def test_concurrent_payments_from_same_user(desk: Desk, handler: TelegramPaymentHandler) -> None:
    events = await asyncio.gather(*(handler.handle_successful_payment(charge(str(number))) for number in range(5)))
    assert [event and event.outcome for event in events] == [EventOutcome.GRANTED] * 5
    assert await desk.expires_at() == START + 5 * MONTH


@pytest.mark.criterion("I5", "I6", "N5")
async def test_both_use_stripe_event_model(desk: Desk, handler: TelegramPaymentHandler) -> None:
    await handler.handle_successful_payment(charge())
    await handler.handle_successful_payment(card_charge("ch_1"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "ch_2", await desk.user_id())
    async with desk.database.reading() as session:
        events = await session.scalars(select(StripeEvent).order_by(StripeEvent.payment_method, StripeEvent.event_id))
        read = [(event.payment_method, event.event_id, event.amount_cents, event.origin) for event in events]
    assert read == [
        ("stripe", "ch_2", 499, None),
        ("stripe", "stripe:ch_1", 499, "starledger"),
        ("telegram_stars", "charge-1", 200, "starledger"),
    ]


@pytest.mark.criterion("C3", "I5", "N5")
async def test_idempotency_works_across_payment_channels(desk: Desk, handler: TelegramPaymentHandler) -> None:
    # Letter by letter the same id at both providers.
    stars, card = charge("ch_1"), card_charge("ch_1")
    for fact in (stars, card, card, stars):
        await handler.handle_successful_payment(fact)
    assert await desk.expires_at() == START + 2 * MONTH
    async with desk.database.reading() as session:
        sources = (await session.scalars(select(EntitlementGrant.source).order_by(EntitlementGrant.source))).all()
    assert sources == ["stripe:ch_1", "telegram_stars:ch_1"]
    # The refund of the one leaves the other.
    await handler.handle_refund(refund(card))
    assert await desk.expires_at() == START + MONTH
    assert (await desk.event("ch_1")).outcome == EventOutcome.GRANTED
    async with desk.database.reading() as session:
        revoked = await session.scalars(select(EntitlementGrant.source).where(EntitlementGrant.revoked_at.is_not(None)))
        assert revoked.all() == ["stripe:ch_1"]

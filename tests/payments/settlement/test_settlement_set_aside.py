"""Charges without a grant, and refunds that contradict their charge: notices, and the way on."""

from dataclasses import replace
from datetime import timedelta

import pytest

from db.states import EventOutcome, EventStatus
from payments.audit import events, transitions
from payments.audit.facts import ChargeFact, RefundFact
from payments.effects import OutwardEffects
from payments.notices import Notice
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.settlement.settlement import Settlement
from payments.subscriptions.chain import Terms
from tests.support.clock import START
from tests.support.desk import Desk, dump
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, CATALOG, SIGNER, STRANGER, charge, order, refund
from tests.support.rows import add_other_services_event

BUYER_CHAT_ID = BUYER.telegram_id
FORGED = PayloadSigner("1000001:not-the-token").sign(order("life"))


def _without(desk: Desk, code: str) -> Desk:
    """Return the desk with a catalog that lacks a plan."""
    catalog = Catalog({key: sold for key, sold in CATALOG.plans.items() if key != code})
    return Desk(
        desk.database,
        desk.clock,
        Settlement(catalog, SIGNER, desk.clock, OutwardEffects(desk.clock, ADMINS), terms=Terms()),
    )


@pytest.mark.criterion("S12", "C4", "C5", "S1")
@pytest.mark.parametrize(
    ("charged", "reason"),
    [
        (replace(charge(), amount=199), "wrong_amount"),
        (replace(charge(), amount=201), "wrong_amount"),
        (replace(charge(), currency="USD"), "wrong_currency"),
        (charge("charge-1", "life", payload=FORGED), "damaged_payload"),
        (charge("charge-1", "bundle"), "plan_missing"),
    ],
    ids=["less", "more", "currency", "forged", "plan"],
)
async def test_charge_that_needs_a_decision_is_parked_and_told(desk: Desk, charged: ChargeFact, reason: str) -> None:
    event = await _without(desk, "bundle").take(charged)
    assert (event.status, event.outcome, event.error) == (EventStatus.FAILED, EventOutcome.PARKED, reason)
    assert (event.due_at, event.processed_at) == (None, None)
    assert await desk.access() is None
    money = {"charge_id": "charge-1", "amount": charged.amount, "currency": charged.currency}
    assert await desk.notices() == [
        (
            Notice.PARKED,
            ADMIN_CHAT_ID,
            money | {"reason": reason, "buyer": BUYER.telegram_id, "retry_id": "charge-1"},
        ),
        (Notice.WAITING, BUYER_CHAT_ID, money),
    ]


@pytest.mark.criterion("S12")
async def test_another_programs_charge_is_reported_and_not_refunded(desk: Desk) -> None:
    event = await desk.take(charge(payload="another program's"))
    assert (event.status, event.outcome, event.due_at) == (EventStatus.FAILED, EventOutcome.FOREIGN, None)
    assert await desk.access() is None
    assert await desk.told() == [(Notice.FOREIGN, ADMIN_CHAT_ID)]


async def test_a_parked_charge_is_granted_once_what_it_lacked_is_there(desk: Desk) -> None:
    await _without(desk, "bundle").take(charge(code="bundle"))
    await desk.settle("charge-1")
    assert (await desk.event("charge-1")).outcome == EventOutcome.PARKED
    desk.clock.advance(hours=2)
    await desk.retry("charge-1")
    event = await desk.settle("charge-1")
    assert event is not None
    assert (event.status, event.outcome, event.error) == (EventStatus.PROCESSED, EventOutcome.GRANTED, None)
    assert await desk.expires_at("archive") == START + timedelta(days=31)


async def test_a_charge_that_is_parked_again_is_told_again_to_admins_alone(desk: Desk) -> None:
    desk = _without(desk, "bundle")
    await desk.take(charge(code="bundle"))
    await desk.deliver()
    assert await desk.due_notices() == []
    now = desk.clock.advance(hours=1)
    await desk.retry("charge-1")
    await desk.settle("charge-1")
    assert await desk.due_notices() == [(Notice.PARKED, ADMIN_CHAT_ID, now)]


GIVEN_BACK = pytest.mark.parametrize(
    ("charged", "reason"),
    [(charge(buyer=STRANGER), "not_the_buyer"), (charge(), "held_for_life")],
    ids=["not the buyer", "held for life"],
)


async def _hold_for_life(desk: Desk) -> None:
    await desk.take(charge("for life", "life"))


@pytest.mark.criterion("S2", "R7")
@GIVEN_BACK
async def test_charge_that_cannot_be_honoured_is_refunded_once(desk: Desk, charged: ChargeFact, reason: str) -> None:
    if reason == "held_for_life":
        await _hold_for_life(desk)
    event = await desk.take(charged)
    assert (event.status, event.outcome, event.error, event.due_at) == (EventStatus.FAILED, None, reason, None)
    refunded = await desk.event("refund:charge-1")
    assert (refunded.status, refunded.due_at) == (EventStatus.PENDING, desk.clock())
    assert (refunded.amount_cents, refunded.currency, refunded.refund_of) == (200, "XTR", "charge-1")
    assert (refunded.reason, refunded.requested_by) == (reason, "starledger")
    assert await desk.told("charge-1") == [(Notice.GIVING_BACK, BUYER_CHAT_ID)]

    await desk.settle("refund:charge-1", confirmed=True)
    event = await desk.event("charge-1")
    assert (event.status, event.outcome, event.error) == (EventStatus.PROCESSED, EventOutcome.REFUNDED, None)
    assert await desk.told("refund:charge-1") == [(Notice.REFUNDED, BUYER_CHAT_ID)]
    held = await desk.access()
    assert (held is not None) is (reason == "held_for_life")


@pytest.mark.criterion("C3")
@pytest.mark.parametrize("order_of_settling", ["M L", "L M"])
async def test_days_paid_before_access_for_life_are_not_given_back_in_whatever_order_both_are_settled(
    desk: Desk, order_of_settling: str
) -> None:
    await desk.record(charge("M", "month"), charge("L", "life", at=desk.clock.advance(minutes=1)))
    for event_id in order_of_settling.split():
        await desk.settle(event_id)
    assert [(await desk.event(event_id)).outcome for event_id in ("M", "L")] == 2 * [EventOutcome.GRANTED]
    assert await desk.expires_at() is None
    assert await desk.told() == 2 * [(Notice.GRANTED, BUYER_CHAT_ID)]


@GIVEN_BACK
async def test_a_charge_is_not_parked_for_ever_when_it_turns_out_to_be_given_back(
    desk: Desk, charged: ChargeFact, reason: str
) -> None:
    await _without(desk, "month").take(charged)
    if reason == "held_for_life":
        await _hold_for_life(desk)
    await desk.retry("charge-1")
    await desk.settle("charge-1")
    assert (await desk.event("charge-1")).error == reason
    await desk.settle("refund:charge-1", confirmed=True)
    assert (await desk.event("charge-1")).outcome == EventOutcome.REFUNDED


@pytest.mark.criterion("S11")
@pytest.mark.parametrize("payload", ["another program's", FORGED], ids=["foreign", "parked"])
async def test_set_aside_charge_can_be_refunded(desk: Desk, payload: str) -> None:
    await desk.take(charge(payload=payload))
    await desk.request_refund("charge-1")
    await desk.settle("refund:charge-1", confirmed=True)
    event = await desk.event("charge-1")
    assert (event.status, event.outcome, event.processed_at) == (
        EventStatus.PROCESSED,
        EventOutcome.REFUNDED,
        desk.clock(),
    )
    ((notice, chat_id, facts),) = await desk.notices("refund:charge-1")
    assert (notice, chat_id, facts["was_granted"]) == (Notice.REFUNDED, BUYER_CHAT_ID, False)


async def test_another_programs_charge_that_failures_had_parked_stays_parked_and_can_be_refunded(desk: Desk) -> None:
    await desk.record(charge(payload="another program's"))
    async with desk.database.transaction() as session:
        event = await events.lock(session, "charge-1")
        assert event is not None
        while transitions.fail(event, "why", desk.clock(), jitter=0):
            pass
    await desk.retry("charge-1")
    settled = await desk.settle("charge-1")
    assert settled is not None
    assert (settled.status, settled.outcome, settled.due_at) == (EventStatus.FAILED, EventOutcome.PARKED, None)
    assert settled.error == "another_program"
    assert await desk.told("charge-1") == [(Notice.FOREIGN, ADMIN_CHAT_ID)]
    await desk.request_refund("charge-1")
    await desk.settle("refund:charge-1", confirmed=True)
    assert (await desk.event("charge-1")).outcome == EventOutcome.REFUNDED


@pytest.mark.criterion("R3")
@pytest.mark.parametrize(
    "told",
    [replace(refund(charge()), amount=100), replace(refund(charge()), person=STRANGER)],
    ids=["amount", "user"],
)
async def test_a_refund_that_contradicts_its_charge_is_parked_and_takes_nothing_away(
    desk: Desk, told: RefundFact
) -> None:
    await desk.take(charge())
    event = await desk.take(told)
    assert (event.status, event.outcome, event.due_at) == (EventStatus.FAILED, EventOutcome.PARKED, None)
    assert await desk.holds()
    assert await desk.told("refund:charge-1") == [(Notice.PARKED, ADMIN_CHAT_ID)]


@pytest.mark.criterion("S12", "C3")
@pytest.mark.parametrize("order_of_settling", [["first", "last"], ["last", "first"]], ids=" ".join)
async def test_second_settled_lifetime_charge_is_given_back_in_any_order(
    desk: Desk, order_of_settling: list[str]
) -> None:
    earlier, later = charge("first", "life"), charge("last", "life", at=START + timedelta(seconds=2))
    desk.clock.advance(minutes=1)
    await desk.record(earlier, later)
    for charge_id in order_of_settling:
        await desk.settle(charge_id)
    kept, given_back = [await desk.event(charge_id) for charge_id in order_of_settling]
    assert (kept.outcome, given_back.outcome, given_back.error) == (EventOutcome.GRANTED, None, "held_for_life")
    assert (await desk.event(f"refund:{given_back.event_id}")).due_at is not None


@pytest.mark.criterion("R3")
async def test_a_charge_is_granted_when_the_refund_before_it_contradicts_it(desk: Desk) -> None:
    await desk.take(replace(refund(charge()), amount=100))
    await desk.take(charge())
    assert await desk.holds()
    assert (Notice.PARKED, ADMIN_CHAT_ID) in await desk.told("refund:charge-1")


@pytest.mark.criterion("I5")
async def test_a_refund_of_another_services_charge_is_parked(desk: Desk) -> None:
    await desk.take(charge("makes the buyer known"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "charge-1", await desk.user_id())
        before = (await dump(session))["stripe_events"]
    assert (await desk.take(refund(charge()))).outcome == EventOutcome.PARKED
    async with desk.database.reading() as session:
        after = (await dump(session))["stripe_events"]
    assert [row for row in after if row in before] == before


@pytest.mark.criterion("R1", "R4", "R6", "I4")
async def test_a_refund_from_outside_takes_access_away_and_is_told(desk: Desk) -> None:
    await desk.take(charge(code="bundle"))
    refunded_at = desk.clock.advance(days=3)
    event = await desk.take(refund(charge(code="bundle"), refunded_at))
    assert (event.status, event.outcome, event.processed_at) == (
        EventStatus.PROCESSED,
        EventOutcome.REFUNDED,
        refunded_at,
    )
    for entitlement in ("premium", "archive"):
        assert not await desk.holds(entitlement)
        access = await desk.access(entitlement)
        assert access is not None
        assert access.revoked_at == refunded_at
    money = {"charge_id": "charge-1", "amount": 300, "currency": "XTR"}
    assert await desk.notices("refund:charge-1") == [
        (Notice.REFUNDED, BUYER_CHAT_ID, money | {"reason": None, "was_granted": True}),
        (Notice.REFUNDED_OUTSIDE, ADMIN_CHAT_ID, money | {"reason": None, "buyer": BUYER.telegram_id}),
    ]


async def test_a_refund_takes_away_what_its_charge_gave_and_no_more(desk: Desk) -> None:
    await desk.take(charge("1"))
    await desk.take(charge("2"))
    await desk.take(refund(charge("1")))
    assert await desk.expires_at() == START + timedelta(days=30)


@pytest.mark.criterion("R4")
async def test_a_refund_before_its_charge_lets_the_grant_be_born_revoked(desk: Desk) -> None:
    desk.clock.advance(hours=5)
    await desk.take(refund(charge(), START + timedelta(hours=1)))
    event = await desk.take(charge())
    assert (event.status, event.outcome) == (EventStatus.PROCESSED, EventOutcome.GRANTED)
    access = await desk.access()
    assert access is not None
    assert access.revoked_at == START + timedelta(hours=1)
    assert await desk.told("charge-1") == []


async def test_a_refund_that_is_only_asked_for_takes_nothing_away_yet(desk: Desk) -> None:
    await desk.record(charge())
    await desk.request_refund("charge-1")
    await desk.settle("charge-1")
    assert await desk.holds()
    await desk.settle("refund:charge-1", confirmed=True)
    assert not await desk.holds()

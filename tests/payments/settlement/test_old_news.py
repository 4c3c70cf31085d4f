"""Old facts from Telegram's ledger take effect, and nobody gets a message about them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from db.states import EventOutcome
from db.tables import StripeEvent
from payments.audit.facts import MoneyFact
from payments.notices import TOLD_DAYS_MAX, Notice
from tests.support.cards import card_charge
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER, STRANGER, charge, refund
from tests.support.subscription_facts import in_ledger, paid

WEEK = TOLD_DAYS_MAX * timedelta(days=1)
LATE = [WEEK + timedelta(seconds=1), timedelta(days=90)]


async def _read_in_ledger(desk: Desk, *facts: MoneyFact) -> None:
    """Record and settle what the ledger tells, as the comparison does."""
    await desk.record(*facts)
    async with desk.database.transaction() as session:
        await session.execute(update(StripeEvent).values(ledger_seen_at=desk.clock()))
    for fact in facts:
        await desk.settle(fact.event_id)


async def _told(desk: Desk) -> set[int]:
    return {chat_id for _, chat_id in await desk.told()}


@pytest.mark.parametrize("late", LATE, ids=str)
async def test_a_charge_and_its_refund_are_old_news_together(desk: Desk, late: timedelta) -> None:
    desk.clock.now += late
    await _read_in_ledger(desk, charge("X"), refund(charge("X")))
    assert (await desk.event("refund:X")).outcome == EventOutcome.REFUNDED
    assert await desk.told() == []


@pytest.mark.parametrize("late", LATE, ids=str)
async def test_the_refund_of_a_charge_that_was_told_in_its_time_is_old_news(desk: Desk, late: timedelta) -> None:
    await desk.take(charge("X"))
    before = await desk.told()
    desk.clock.now += late
    await desk.record(refund(charge("X")))
    async with desk.database.transaction() as session:
        seen = update(StripeEvent).where(StripeEvent.event_id == "refund:X").values(ledger_seen_at=desk.clock())
        await session.execute(seen)
    await desk.settle("refund:X")
    assert not await desk.holds()
    assert await desk.told() == before


async def test_a_part_is_old_news_as_well(desk: Desk) -> None:
    charged = card_charge("ch_1")
    desk.clock.now += 2 * WEEK
    await _read_in_ledger(desk, charged, replace(refund(charged), amount=100, part="re_1"))
    assert await desk.told() == []


async def test_a_subscriptions_month_that_is_over_is_old_news(desk: Desk) -> None:
    desk.clock.now += timedelta(days=90)
    await _read_in_ledger(desk, in_ledger(paid(1)), refund(paid(1)))
    assert BUYER.telegram_id not in await _told(desk)


async def test_within_the_week_both_are_told(desk: Desk) -> None:
    desk.clock.now += WEEK
    await _read_in_ledger(desk, charge("X"), refund(charge("X")))
    assert (Notice.REFUNDED, BUYER.telegram_id) in await desk.told()
    assert (Notice.REFUNDED_OUTSIDE, ADMIN_CHAT_ID) in await desk.told()


async def test_a_refund_that_is_asked_for_now_is_news(desk: Desk) -> None:
    desk.clock.now += timedelta(days=90)
    await _read_in_ledger(desk, charge("X"))
    await desk.request_refund("X", reply_chat_id=ADMIN_CHAT_ID)
    await desk.settle("refund:X", confirmed=True)
    assert await desk.told() == [(Notice.REFUND_DONE, ADMIN_CHAT_ID), (Notice.REFUNDED, BUYER.telegram_id)]


async def test_an_old_charge_that_waits_is_told_to_the_admins_alone(desk: Desk) -> None:
    desk.clock.now += timedelta(days=90)
    await _read_in_ledger(desk, replace(charge("X"), amount=1))
    assert await desk.told() == [(Notice.PARKED, ADMIN_CHAT_ID)]


async def test_an_old_charge_that_goes_back_now_is_told(desk: Desk) -> None:
    desk.clock.now += timedelta(days=90)
    await _read_in_ledger(desk, charge("X", payer=BUYER, buyer=STRANGER))
    assert await desk.told() == [(Notice.GIVING_BACK, BUYER.telegram_id)]


async def test_charge_recorded_late_from_quarantine_is_told(desk: Desk) -> None:
    desk.clock.now = START + timedelta(days=90)
    await desk.take(charge("X"))
    assert (Notice.GRANTED, BUYER.telegram_id) in await desk.told()

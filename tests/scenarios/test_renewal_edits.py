"""The wanted renewal reaches Telegram through all its errors, or the admins hear of it."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import update

from db.tables import Subscription
from sandbox.faults import FaultKind
from sandbox.subscriptions import SubscriptionState as AtTelegram
from tests.support.chats import Chats
from tests.support.subscribers import Subscriber

METHOD = "editUserStarSubscription"


@pytest.fixture
async def ann(chats: Chats) -> Subscriber:
    """Ann has subscribed, and pressed the button to cancel; nothing has been sent yet."""
    subscriber = Subscriber(chats, chats.people.buyer)
    await subscriber.subscribe()
    await subscriber.press("Cancel Premium, renewed monthly")
    await subscriber.press("Yes, cancel it")
    await subscriber.told()
    return subscriber


async def _edits(ann: Subscriber) -> int:
    return len(await ann.client.calls(METHOD))


@pytest.mark.criterion("N3", "E1")
async def test_an_outage_is_sat_out_with_growing_pauses(ann: Subscriber) -> None:
    await ann.client.add_fault(FaultKind.CUT_BEFORE, METHOD, count=3)
    for attempts in (1, 2, 3):
        await ann.chats.settle()
        row = await ann.row()
        assert (row.attempts, row.state) == (attempts, "active")
        assert row.due_at is not None
        assert row.error is not None
        status = await ann.chats.answer(ann.person, "/status")
        assert "is being cancelled; paid until" in status.text()
        assert status.buttons() == []
        await ann.told()
        assert await _edits(ann) == attempts
        await ann.pass_until(row.due_at + timedelta(seconds=1))
    assert (await ann.at_telegram()).state is AtTelegram.CANCELED
    assert ((await ann.row()).state, (await ann.row()).error) == ("canceled", None)
    [told] = await ann.told()
    assert "is cancelled: no more Stars are taken for it" in told


@pytest.mark.criterion("N3", "E1")
async def test_an_answer_that_was_lost_is_asked_for_again_and_told_once(ann: Subscriber) -> None:
    await ann.client.add_fault(FaultKind.ANSWER_LOST, METHOD)
    await ann.chats.settle()
    assert (await ann.at_telegram()).state is AtTelegram.CANCELED
    assert (await ann.row()).state == "active"
    await ann.pass_time(timedelta(minutes=1))
    assert (await ann.row()).state == "canceled"
    assert len(await ann.told()) == 1


@pytest.mark.criterion("N3")
async def test_a_pause_that_telegram_asks_for_is_no_failed_attempt(ann: Subscriber) -> None:
    await ann.client.add_fault(FaultKind.RETRY_AFTER, METHOD, retry_after_seconds=60)
    await ann.chats.keeper.work_once()
    row = await ann.row()
    assert (row.attempts, row.error) == (0, None)
    await ann.chats.keeper.work_once()
    assert await _edits(ann) == 1
    await ann.pass_time(timedelta(seconds=61))
    assert (await ann.row()).state == "canceled"


@pytest.mark.criterion("N3")
async def test_refused_cancellation_is_told_and_an_admin_can_retry_it(ann: Subscriber) -> None:
    row = await ann.row()
    await _rename(ann, row.id, "stx-not-the-first")
    await ann.chats.settle()
    [told] = await ann.told()
    assert "Telegram has not cancelled Premium, renewed monthly for us" in told
    assert "CHARGE_ID_INVALID" not in told
    alert = (await ann.chats.said(ann.chats.people.desk.id))[-1].text()
    assert "A subscription waits for you: Premium, renewed monthly" in alert
    assert "CHARGE_ID_INVALID" in alert
    assert "/retry renewal:stx-not-the-first" in alert
    admin = ann.chats.people.admin
    listed = (await ann.chats.answer(admin, "/pending")).text()
    assert f"Subscription {row.plan}, @Ann_B ({ann.person.id}): not cancelled\nBad Request: CHARGE_ID_INVALID" in listed
    assert listed.endswith("/retry renewal:stx-not-the-first")
    await ann.pass_time(timedelta(days=1))
    assert await _edits(ann) == 1, "a refusal is final until somebody looks at it"
    await _rename(ann, row.id, row.first_charge_id)
    begun = await ann.chats.answer(admin, f"/retry renewal:{row.first_charge_id}")
    assert "is taken up again" in begun.text()
    await ann.chats.settle()
    assert (await ann.at_telegram()).state is AtTelegram.CANCELED
    again = await ann.chats.answer(admin, f"/retry renewal:{row.first_charge_id}")
    assert "does not wait" in again.text()
    unknown = await ann.chats.answer(admin, "/retry renewal:stx")
    assert "There is no payment and no refund" in unknown.text()


@pytest.mark.criterion("N3")
async def test_attempts_are_bounded_and_end_with_an_admin(ann: Subscriber) -> None:
    await ann.client.add_fault(FaultKind.SERVER_ERROR, METHOD, count=100)
    for _ in range(48):
        await ann.client.move_clock(2 * 3600)
        await ann.chats.keeper.work_once()
    assert await _edits(ann) == 48
    row = await ann.row()
    assert (row.due_at, row.claimed_until) == (None, None)
    await ann.chats.settle()
    assert "A subscription waits for you" in (await ann.chats.said(ann.chats.people.desk.id))[-1].text()
    assert any("has not cancelled" in text for text in await ann.told())


@pytest.mark.criterion("N3", "S9")
async def test_two_processes_call_once(ann: Subscriber) -> None:
    other = ann.chats.again().keeper
    await asyncio.gather(ann.chats.keeper.work_once(), other.work_once())
    assert await _edits(ann) == 1


@pytest.mark.criterion("N3")
async def test_cancellation_of_an_expired_subscription_is_done(ann: Subscriber) -> None:
    await ann.client.cancel_subscription((await ann.row()).first_charge_id)
    await ann.client.move_clock(31 * 24 * 3600)
    await ann.chats.keeper.work_once()
    row = await ann.row()
    assert (row.due_at, row.error) == (None, None)
    assert await _edits(ann) == 1


async def _rename(ann: Subscriber, row_id: str, first_charge_id: str) -> None:
    async with ann.chats.database.transaction() as session:
        row = update(Subscription).where(Subscription.id == row_id)
        await session.execute(row.values(first_charge_id=first_charge_id))

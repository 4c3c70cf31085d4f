"""A refund that contradicts its charge never blocks the true refund of that charge."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from db.states import EventOutcome, EventStatus
from db.tables import StripeEvent
from payments.audit import events
from payments.audit.facts import MoneyFact, RefundFact, ReturnFact, refund_id
from payments.audit.history import EntryState, read_page
from payments.notices import Notice
from payments.recording.recorder import Recorder
from payments.settlement.worker import Worker
from payments.telegram import TelegramPaymentHandler
from tests.support.cards import card_charge
from tests.support.clock import START
from tests.support.desk import Desk, dump
from tests.support.money import ADMIN_CHAT_ID, ADMINS, BUYER, STRANGER, charge, charge_update, refund, refund_update
from tests.support.rows import add_other_services_event

TRUE: Final = refund(charge("X"))
WRONG: Final = {
    "user": replace(TRUE, person=STRANGER),
    "amount": replace(TRUE, amount=180),
    "currency": replace(TRUE, currency="USD"),
}


async def _rows(desk: Desk, charge_id: str = "X") -> Sequence[StripeEvent]:
    async with desk.database.reading() as session:
        return await events.refunds_of(session, charge_id)


async def _told_by_update(desk: Desk, fact: RefundFact) -> None:
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    assert (await recorder.record([refund_update(fact, 9)]))[9] is not None


@pytest.mark.criterion("R1", "R4", "C3")
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("is_before", [False, True], ids=["after its charge", "before its charge"])
async def test_the_true_refund_takes_the_access_though_a_wrong_one_came_first(
    desk: Desk, wrong: str, *, is_before: bool
) -> None:
    if is_before:
        await desk.take(WRONG[wrong])
    await desk.take(charge("X"))
    if not is_before:
        await desk.take(WRONG[wrong])
    assert await desk.holds()
    await _told_by_update(desk, TRUE)
    await _told_by_update(desk, TRUE)
    await desk.settle("refund:X")
    assert not await desk.holds()
    [apart] = [row for row in await _rows(desk) if row.event_id != "refund:X"]
    assert apart.event_id == refund_id("X", apart.id)
    assert (apart.outcome, apart.amount_cents, apart.requested_by) == (EventOutcome.REFUNDED, 200, "telegram")


@pytest.mark.criterion("R1", "R4")
@pytest.mark.parametrize("wrong", WRONG)
async def test_the_handler_settles_the_true_refund(desk: Desk, handler: TelegramPaymentHandler, wrong: str) -> None:
    await desk.take(charge("X"))
    await desk.take(WRONG[wrong])
    settled = await handler.handle_refund(TRUE)
    assert settled is not None
    assert (settled.outcome, await desk.holds()) == (EventOutcome.REFUNDED, False)
    again = await handler.handle_refund(TRUE)
    assert again is not None
    assert (again.event_id, len(await _rows(desk))) == (settled.event_id, 2)


@pytest.mark.criterion("R3", "R7", "R8")
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("is_before", [False, True], ids=["after its charge", "before its charge"])
async def test_an_admin_may_refund_though_a_wrong_one_is_there_and_telegrams_word_is_the_same_refund(
    desk: Desk, worker: Worker, wrong: str, *, is_before: bool
) -> None:
    for fact in (WRONG[wrong], charge("X")) if is_before else (charge("X"), WRONG[wrong]):
        await desk.take(fact)
    asked = await desk.request_refund("X")
    assert (asked.event_id, asked.amount_cents) == (refund_id("X", asked.id), 200)
    await desk.settle(asked.event_id, confirmed=True)
    assert not await desk.holds()
    await _told_by_update(desk, TRUE)
    while await worker.work_once():
        pass
    assert len(await _rows(desk)) == 2
    assert (await desk.event(asked.event_id)).webhook_timestamp == TRUE.happened_at


@pytest.mark.criterion("R3")
async def test_a_wrong_refund_after_the_true_one_goes_to_quarantine(desk: Desk) -> None:
    await desk.take(charge("X"))
    await desk.take(TRUE)
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    assert await recorder.record([refund_update(WRONG["user"], 9)]) == {9: None}
    assert len(await _rows(desk)) == 1


@pytest.mark.criterion("R3")
async def test_a_second_wrong_refund_goes_to_quarantine(desk: Desk) -> None:
    await desk.take(charge("X"))
    await desk.take(WRONG["user"])
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    assert await recorder.record([refund_update(WRONG["amount"], 9)]) == {9: None}
    assert len(await _rows(desk)) == 1


@pytest.mark.criterion("I5", "R1", "R4")
async def test_another_services_row_in_place_of_a_refund_keeps_no_access_open(desk: Desk) -> None:
    await desk.take(charge("X"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "refund:X", await desk.user_id())
        before = (await dump(session))["stripe_events"]
    await _told_by_update(desk, TRUE)
    settled = await desk.settle("refund:X")
    assert settled is not None
    assert (settled.outcome, await desk.holds()) == (EventOutcome.REFUNDED, False)
    assert (Notice.REFUNDED, BUYER.telegram_id) in await desk.told(settled.event_id)
    async with desk.database.reading() as session:
        theirs = [row for row in (await dump(session))["stripe_events"] if "refund:X" in row]
    assert [row for row in before if "refund:X" in row] == theirs


@pytest.mark.criterion("R1", "C3")
async def test_a_charge_whose_id_is_a_refunds_does_not_swallow_it(desk: Desk) -> None:
    await desk.take(charge("X"))
    await desk.take(charge("refund:X"))
    await _told_by_update(desk, TRUE)
    await desk.settle("refund:X")
    [apart] = await _rows(desk)
    assert (apart.outcome, (await desk.event("refund:X")).outcome) == (EventOutcome.REFUNDED, EventOutcome.GRANTED)
    # The odd charge has a refund of its own.
    await desk.take(refund(charge("refund:X")))
    assert (await desk.event("refund:refund:X")).outcome == EventOutcome.REFUNDED
    assert not await desk.holds()


@pytest.mark.criterion("R1", "C3")
@pytest.mark.parametrize(
    "holder",
    [
        TRUE,
        card_charge("ch_1"),
        ReturnFact("X", "refund:X", BUYER, 200, "XTR", START, "lost"),
    ],
    ids=lambda fact: fact.event_id,
)
async def test_a_charge_is_not_taken_for_another_row_that_has_its_id(desk: Desk, holder: MoneyFact) -> None:
    await desk.take(holder)
    before = await desk.event(holder.event_id)
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    assert await recorder.record([charge_update(charge(holder.event_id), 21)]) == {21: None}
    assert (Notice.QUARANTINED, ADMIN_CHAT_ID) in await desk.told()
    after = await desk.event(holder.event_id)
    assert (after.event_type, after.payload, after.update_id) == (before.event_type, before.payload, before.update_id)


@pytest.mark.criterion("R1", "R4")
async def test_a_parked_refund_is_not_taken_for_the_charge_of_another_one(desk: Desk) -> None:
    await desk.take(charge("X"))
    await desk.request_refund("X")
    async with desk.database.transaction() as session:
        parked = await events.lock(session, "refund:X")
        assert parked is not None
        await desk.settlement.parking.park(session, parked, "BALANCE_TOO_LOW")
    await desk.take(refund(charge("refund:X")))
    still = await desk.event("refund:X")
    assert (still.status, still.outcome) == (EventStatus.FAILED, EventOutcome.PARKED)


@pytest.mark.criterion("I5", "E3")
async def test_another_services_row_in_place_of_a_charge_is_told_with_the_commands(desk: Desk) -> None:
    await desk.take(charge("makes the buyer known"))
    await desk.deliver()
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "X", await desk.user_id())
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    assert await recorder.record([charge_update(charge("X"), 21)]) == {21: None}
    [facts] = [facts for notice, _, facts in await desk.notices() if notice is Notice.QUARANTINED]
    assert "starledger grant" in facts["reason"]
    # The true refund of a charge that is not ours here is parked, and names the command as well.
    assert "starledger revoke" in ((await desk.take(TRUE)).error or "")


@pytest.mark.criterion("O4")
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_refund_before_its_charge_is_not_told_as_given_back(desk: Desk, wrong: str) -> None:
    for fact in (WRONG[wrong], charge("X")):
        await desk.take(fact)
    async with desk.database.reading() as session:
        page = await read_page(session, await desk.user_id())
    assert [entry.state for entry in page.entries if entry.event.event_id == "X"] == [EntryState.DONE]

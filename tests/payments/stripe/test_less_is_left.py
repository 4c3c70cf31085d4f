"""A refund above the remainder of its charge: Stripe refuses it, and the desk refunds the remainder."""

import pytest

from db.states import EventOutcome, EventStatus
from payments.errors import RefundRefusal, RefundRefusedError
from payments.notices import Notice
from payments.settlement.worker import Worker
from payments.stripe.watch import StripeWatch
from payments.waiting import RetryResult, list_pending
from tests.support.cards import read, refunds, sell
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER
from tests.support.stripe_account import Fault, StripeAccount

ADMIN_ID = 42


async def _rows(desk: Desk, charge_id: str) -> list[tuple[int, int, str | None]]:
    """Return amount, status and outcome of a charge's refunds, in the order of their amounts."""
    return sorted((row.amount_cents, row.status, row.outcome) for row in await refunds(desk, charge_id))


async def _pending(desk: Desk) -> list[str]:
    async with desk.database.reading() as session:
        return [event.event_id for event, _ in (await list_pending(session)).events]


@pytest.mark.criterion("R5", "R7", "S3")
async def test_a_part_that_went_back_before_the_whole_is_sent_leaves_the_rest_to_be_made(
    desk: Desk, account: StripeAccount, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    whole = await desk.request_refund(f"stripe:{charge_id}", reply_chat_id=ADMIN_ID)
    account.give_back(charge_id, 100)
    while await worker.work_once():
        pass
    assert await _rows(desk, charge_id) == [(100, 1, "refunded"), (399, 1, "refunded"), (499, 2, "replaced")]
    assert account.refunded(charge_id) == 499
    assert not await desk.holds()
    [rest] = [row for row in await refunds(desk, charge_id) if row.amount_cents == 399]
    assert rest.event_id == f"refund:stripe:{charge_id}:{rest.id}"
    assert (rest.requested_by, rest.reason) == (whole.requested_by, whole.reason)
    assert [each["metadata"] for each in account.refunds(charge_id)][1] == {"starledger_refund": rest.event_id}
    # The admin who asked for the whole hears of the remainder, once.
    assert await desk.told(whole.event_id) == []
    [(facts, due)] = [(facts, chat) for kind, chat, facts in await desk.notices() if kind is Notice.REFUND_DONE]
    assert (facts["amount"], due) == (399, ADMIN_ID)
    assert (Notice.REFUND_DONE, ADMIN_ID) in [(notice, chat_id) for notice, chat_id, _ in await desk.due_notices()]


@pytest.mark.criterion("E5")
@pytest.mark.parametrize("way", ["retry", "refund"])
async def test_a_whole_that_is_parked_already_goes_on_with_the_rest(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, way: str
) -> None:
    charge_id = await sell(desk, account)
    whole = await desk.request_refund(f"stripe:{charge_id}")
    account.refusal = "charge_disputed"
    await read(watch, worker)
    account.refusal = None
    account.give_back(charge_id, 100)
    await read(watch, worker)
    assert await _rows(desk, charge_id) == [(100, 1, "refunded"), (499, 2, "parked")]
    desk.clock.advance(minutes=1)
    if way == "retry":
        assert await desk.retry(whole.event_id) is RetryResult.BEGUN
    else:
        assert (await desk.request_refund(f"stripe:{charge_id}")).event_id == whole.event_id
    await read(watch, worker)
    assert await _rows(desk, charge_id) == [(100, 1, "refunded"), (399, 1, "refunded"), (499, 2, "replaced")]
    assert await desk.retry(whole.event_id) is RetryResult.NOT_WAITING
    assert await _pending(desk) == []
    with pytest.raises(RefundRefusedError, match=RefundRefusal.ALREADY_REFUNDED):
        await desk.request_refund(f"stripe:{charge_id}")


@pytest.mark.criterion("R8")
async def test_asker_is_told_when_no_remainder_is_left(desk: Desk, account: StripeAccount, worker: Worker) -> None:
    charge_id = await sell(desk, account)
    whole = await desk.request_refund(f"stripe:{charge_id}", reply_chat_id=ADMIN_ID)
    account.give_back(charge_id, 100)
    account.give_back(charge_id)
    while await worker.work_once():
        pass
    assert await _rows(desk, charge_id) == [(100, 1, "refunded"), (399, 1, "refunded"), (499, 2, "replaced")]
    assert await desk.told(whole.event_id) == [(Notice.NOTHING_LEFT, ADMIN_ID)]
    assert (Notice.NOTHING_LEFT, ADMIN_ID) in [(notice, chat_id) for notice, chat_id, _ in await desk.due_notices()]
    assert not await desk.holds()
    assert await _pending(desk) == []


async def test_the_rest_can_become_too_much_in_its_turn(desk: Desk, account: StripeAccount, worker: Worker) -> None:
    charge_id = await sell(desk, account)
    await desk.request_refund(f"stripe:{charge_id}", reply_chat_id=ADMIN_ID)
    account.give_back(charge_id, 100)
    await worker.work_once()
    account.give_back(charge_id, 200)
    while await worker.work_once():
        pass
    assert await _rows(desk, charge_id) == [
        (100, 1, "refunded"),
        (199, 1, "refunded"),
        (200, 1, "refunded"),
        (399, 2, "replaced"),
        (499, 2, "replaced"),
    ]
    assert [facts["amount"] for kind, _, facts in await desk.notices() if kind is Notice.REFUND_DONE] == [199]


async def test_the_whole_made_in_the_dashboard_is_the_one_that_was_asked_for(
    desk: Desk, account: StripeAccount, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    whole = await desk.request_refund(f"stripe:{charge_id}", reply_chat_id=ADMIN_ID)
    account.give_back(charge_id)
    while await worker.work_once():
        pass
    assert await _rows(desk, charge_id) == [(499, 1, "refunded")]
    assert (Notice.REFUND_DONE, ADMIN_ID) in await desk.told(whole.event_id)


async def test_a_lost_dispute_counts_as_what_is_gone(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    dispute_id = account.open_dispute(charge_id)
    whole = await desk.request_refund(f"stripe:{charge_id}", reply_chat_id=ADMIN_ID)
    await read(watch, worker)
    assert (await desk.event(whole.event_id)).outcome == EventOutcome.PARKED
    account.close_dispute(dispute_id, "lost")
    await read(watch, worker)
    desk.clock.advance(minutes=1)
    await desk.retry(whole.event_id)
    await read(watch, worker)
    assert (await desk.event(whole.event_id)).outcome == EventOutcome.REPLACED
    assert (Notice.NOTHING_LEFT, ADMIN_ID) in await desk.told(whole.event_id)


async def test_a_part_alone_is_no_reason_to_replace_what_is_refused_for_another(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    account.give_back(charge_id, 100)
    await read(watch, worker)
    rest = await desk.request_refund(f"stripe:{charge_id}")
    account.refusal = "charge_disputed"
    await read(watch, worker)
    parked = await desk.event(rest.event_id)
    assert (parked.amount_cents, parked.outcome) == (399, EventOutcome.PARKED)
    assert (Notice.PARKED, ADMIN_CHAT_ID) in await desk.told(rest.event_id)


@pytest.mark.criterion("E1")
async def test_a_stripe_that_fails_after_its_refusal_is_asked_again(
    desk: Desk, account: StripeAccount, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    whole = await desk.request_refund(f"stripe:{charge_id}")
    account.give_back(charge_id, 100)
    account.faults.extend([None, Fault.BROKEN])
    await worker.work_once()
    assert (await desk.event(whole.event_id)).status == EventStatus.FAILED
    assert await _rows(desk, charge_id) == [(499, 2, None)]
    desk.clock.advance(minutes=1)
    while await worker.work_once():
        pass
    assert await _rows(desk, charge_id) == [(100, 1, "refunded"), (399, 1, "refunded"), (499, 2, "replaced")]


async def test_a_refund_that_stripe_makes_late_moves_a_row_that_was_replaced(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    whole = await desk.request_refund(f"stripe:{charge_id}")
    part = account.give_back(charge_id, 100)
    await worker.work_once()
    assert (await desk.event(whole.event_id)).outcome == EventOutcome.REPLACED
    account.fail_refund(part)
    account.give_back(charge_id, metadata={"starledger_refund": whole.event_id})
    await read(watch, worker)
    assert (await desk.event(whole.event_id)).outcome == EventOutcome.REFUNDED
    assert not await desk.holds(person=BUYER)

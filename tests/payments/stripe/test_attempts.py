"""A refund at Stripe is made once, even when other partial refunds came back and left room for a second."""

import pytest

from db.states import EventOutcome
from payments.audit import transitions
from payments.channel import by_name
from payments.notices import Notice
from payments.refunds.sending import RefundSender
from payments.settlement.worker import Worker
from payments.stripe.api import StripeApi
from payments.stripe.cards import CardChannel
from payments.stripe.watch import StripeWatch
from tests.support.cards import read, refunds, sell
from tests.support.desk import Desk
from tests.support.stripe_account import Fault, StripeAccount

ADMIN_ID = 42
PART = 300
REST = 199


@pytest.fixture
async def charge_id(desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker) -> str:
    """Sell by card, give a part back at Stripe, and ask for the rest here; give Stripe's charge id."""
    charge_id = await sell(desk, account)
    account.give_back(charge_id, PART)
    await read(watch, worker)
    assert (await desk.request_refund(f"stripe:{charge_id}")).amount_cents == REST
    return charge_id


@pytest.mark.parametrize(
    "faults",
    [[Fault.CUT_AFTER], [Fault.CUT_WITHIN], [None, Fault.BUSY], [None, Fault.BROKEN], [None, Fault.CUT_BEFORE]],
    ids=["no answer", "half an answer", "asked again: busy", "asked again: broken", "asked again: cut"],
)
async def test_refund_made_without_an_answer_is_found_and_not_repeated(
    desk: Desk,
    account: StripeAccount,
    watch: StripeWatch,
    worker: Worker,
    charge_id: str,
    faults: list[Fault | None],
) -> None:
    account.faults.extend(faults)
    await worker.work_once()
    assert account.refunded(charge_id) == PART + REST
    await _part_comes_back(desk, account, charge_id)
    desk.clock.advance(days=2)
    await worker.work_once()
    assert account.refunded(charge_id) == REST
    await read(watch, worker)
    # The books agree with Stripe: all but the rest is left, and can go back.
    assert (await desk.request_refund(f"stripe:{charge_id}")).amount_cents == PART
    await worker.work_once()
    assert account.refunded(charge_id) == PART + REST


async def test_a_retry_after_a_death_does_not_make_it_again(
    desk: Desk, account: StripeAccount, api: StripeApi, worker: Worker, charge_id: str
) -> None:
    [waiting] = [row for row in await refunds(desk, charge_id) if row.amount_cents == REST]
    await RefundSender(desk.database, by_name(CardChannel(api)), desk.clock).send(waiting.event_id)
    async with desk.database.transaction() as session:
        await transitions.release_claims(session)
    await _part_comes_back(desk, account, charge_id)
    await desk.retry(waiting.event_id)
    await worker.work_once()
    assert account.refunded(charge_id) == REST
    assert (await desk.event(waiting.event_id)).outcome == EventOutcome.REFUNDED


async def test_an_attempt_that_may_be_under_way_keeps_its_key(
    desk: Desk, account: StripeAccount, worker: Worker, charge_id: str
) -> None:
    [waiting] = [row for row in await refunds(desk, charge_id) if row.amount_cents == REST]
    account.faults.extend([Fault.CUT_BEFORE, None, Fault.CUT_BEFORE])
    keys = []
    for _ in range(2):
        await worker.work_once()
        keys.append((await desk.event(waiting.event_id)).attempt_key)
        desk.clock.advance(minutes=5)
    assert keys[0] is not None
    assert keys[0] == keys[1]
    account.refusal = "charge_disputed"
    await worker.work_once()
    assert (await desk.event(waiting.event_id)).attempt_key is None


async def test_a_rest_that_was_parked_while_more_came_back_says_that_not_all_is_back(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    account.refusal = "charge_disputed"
    await worker.work_once()
    await _part_comes_back(desk, account, charge_id)
    await read(watch, worker)
    account.refusal = None
    desk.clock.advance(minutes=1)
    taken_up = await desk.request_refund(f"stripe:{charge_id}", reply_chat_id=ADMIN_ID)
    assert taken_up.amount_cents == REST
    await worker.work_once()
    assert (Notice.PART_DONE, ADMIN_ID) in await desk.told(taken_up.event_id)
    assert await desk.holds()
    last = await desk.request_refund(f"stripe:{charge_id}", reply_chat_id=ADMIN_ID)
    await worker.work_once()
    assert (last.amount_cents, account.refunded(charge_id)) == (PART, PART + REST)
    assert (Notice.REFUND_DONE, ADMIN_ID) in await desk.told(last.event_id)
    assert not await desk.holds()


async def _part_comes_back(desk: Desk, account: StripeAccount, charge_id: str) -> None:
    desk.clock.advance(minutes=1)
    [part] = [each["id"] for each in account.refunds(charge_id) if each["amount"] == PART]
    account.fail_refund(part)

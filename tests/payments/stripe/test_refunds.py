"""Refunds by card, requested here and made at Stripe: once, whatever happens on the way."""

from datetime import timedelta

import pytest

from db.states import EventOutcome, EventStatus
from payments.audit import transitions
from payments.channel import by_name
from payments.notices import Notice
from payments.refunds.sending import RefundSender
from payments.settlement.worker import Worker
from payments.stripe.api import StripeApi
from payments.stripe.cards import CardChannel
from tests.support.cards import card_charge
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID
from tests.support.stripe_account import Fault, StripeAccount

pytestmark = pytest.mark.engines("sqlite", "postgresql")


@pytest.fixture
async def charge_id(desk: Desk, account: StripeAccount) -> str:
    """Sell a month by card and ask for its refund; give Stripe's charge id."""
    charge_id = account.charge(499)
    await desk.take(card_charge(charge_id))
    await desk.request_refund(f"stripe:{charge_id}")
    return charge_id


@pytest.mark.criterion("R4", "R5", "R7")
async def test_a_refund_is_made_at_stripe_and_ends_the_access(
    desk: Desk, account: StripeAccount, worker: Worker, charge_id: str
) -> None:
    await worker.work_once()
    refund = await desk.event(f"refund:stripe:{charge_id}")
    assert (refund.outcome, refund.requested_by, refund.reason) == (EventOutcome.REFUNDED, "telegram:42", "wrong plan")
    assert [each["metadata"] for each in account.refunds(charge_id)] == [{"starledger_refund": refund.event_id}]
    assert not await desk.holds()


async def test_a_death_between_stripes_answer_and_our_commit_is_repeated_under_the_same_key(
    desk: Desk, account: StripeAccount, api: StripeApi, worker: Worker, charge_id: str
) -> None:
    refund_id = f"refund:stripe:{charge_id}"
    await RefundSender(desk.database, by_name(CardChannel(api)), desk.clock).send(refund_id)
    assert (await desk.event(refund_id)).status == EventStatus.PENDING
    desk.clock.advance(hours=1)
    async with desk.database.transaction() as session:
        await transitions.release_claims(session)
    await worker.work_once()
    assert (await desk.event(refund_id)).outcome == EventOutcome.REFUNDED
    assert (account.refunded(charge_id), len(account.keys)) == (499, 1)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CUT_WITHIN, Fault.BROKEN])
@pytest.mark.criterion("E1")
async def test_an_attempt_of_which_nothing_is_known_is_followed_by_another(
    desk: Desk, account: StripeAccount, worker: Worker, charge_id: str, fault: Fault
) -> None:
    account.faults.append(fault)
    await worker.work_once()
    waiting = await desk.event(f"refund:stripe:{charge_id}")
    assert (waiting.status, waiting.attempts) == (EventStatus.FAILED, 1)
    assert await desk.holds()
    desk.clock.advance(minutes=1)
    await worker.work_once()
    assert (await desk.event(waiting.event_id)).outcome == EventOutcome.REFUNDED
    assert account.refunded(charge_id) == 499
    assert not await desk.holds()


async def test_a_busy_stripe_is_left_alone_for_as_long_as_it_asks_and_that_is_no_attempt(
    desk: Desk, account: StripeAccount, worker: Worker, charge_id: str
) -> None:
    account.faults.append(Fault.BUSY)
    await worker.work_once()
    waiting = await desk.event(f"refund:stripe:{charge_id}")
    assert (waiting.status, waiting.attempts) == (EventStatus.PENDING, 0)
    assert waiting.due_at == desk.clock() + timedelta(seconds=7)
    desk.clock.advance(seconds=7)
    await worker.work_once()
    assert account.refunded(charge_id) == 499


async def test_refund_refused_by_stripe_is_parked_and_its_retry_asks_anew(
    desk: Desk, account: StripeAccount, worker: Worker, charge_id: str
) -> None:
    account.refusal = "charge_disputed"
    await worker.work_once()
    refund_id = f"refund:stripe:{charge_id}"
    assert (await desk.event(refund_id)).outcome == EventOutcome.PARKED
    assert (Notice.PARKED, ADMIN_CHAT_ID) in await desk.told(refund_id)
    assert await desk.holds()
    account.refusal = None
    desk.clock.advance(minutes=1)
    await desk.retry(refund_id)
    await worker.work_once()
    assert (await desk.event(refund_id)).outcome == EventOutcome.REFUNDED
    assert account.refunded(charge_id) == 499

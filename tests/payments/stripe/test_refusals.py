"""Stripe refuses a refund: the next attempt has a key of its own, unless the first may still be made."""

import pytest

from db.states import EventOutcome, EventStatus
from payments.channel import by_name
from payments.pause import Pause
from payments.refunds.sending import RefundSender
from payments.settlement.worker import Worker
from payments.stripe.api import StripeApi
from payments.stripe.cards import CardChannel
from payments.stripe.watch import StripeWatch
from tests.support.cards import read, sell
from tests.support.desk import Desk
from tests.support.stripe_account import Fault, StripeAccount

REFUSAL = "charge_disputed"


@pytest.mark.criterion("E1", "R4")
async def test_after_a_refusal_the_next_attempt_has_a_key_of_its_own(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker
) -> None:
    charge_id = await sell(desk, account)
    part = account.give_back(charge_id, 100)
    await read(watch, worker)
    account.fail_refund(part)
    unread = account.events.pop()
    rest = await desk.request_refund(f"stripe:{charge_id}")
    account.refusal = REFUSAL
    await worker.work_once()
    assert (await desk.event(rest.event_id)).attempt_key is None
    account.refusal = None
    account.events.append(unread)
    desk.clock.advance(minutes=1)
    await watch.read_once()
    await worker.work_once()
    assert (await desk.event(rest.event_id)).outcome == EventOutcome.REFUNDED
    assert len(set(account.keys)) == 2


@pytest.mark.criterion("E1", "R4")
@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.BUSY, Fault.STRANGE], ids=["away", "busy", "unreadable"])
async def test_a_refusal_ends_the_attempt_though_the_refunds_cannot_be_listed(
    desk: Desk, account: StripeAccount, worker: Worker, fault: Fault
) -> None:
    charge_id = await sell(desk, account)
    asked = await desk.request_refund(f"stripe:{charge_id}")
    account.refusal = REFUSAL
    account.faults.extend([None, fault])
    await worker.work_once()
    waiting = await desk.event(asked.event_id)
    assert (waiting.attempt_key, waiting.outcome) == (None, None)
    account.refusal = None
    desk.clock.advance(minutes=1)
    await worker.work_once()
    assert (await desk.event(asked.event_id)).outcome == EventOutcome.REFUNDED


@pytest.mark.criterion("E1", "C3")
@pytest.mark.parametrize("is_closed", [False, True], ids=["the key is refused", "the channel is closed"])
async def test_refund_that_may_have_been_made_keeps_its_key_while_stripe_is_closed(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, *, is_closed: bool
) -> None:
    charge_id = await sell(desk, account)
    part = account.give_back(charge_id, 300)
    await read(watch, worker)
    asked = await desk.request_refund(f"stripe:{charge_id}")
    # It is made, and the answer is lost.
    account.faults.append(Fault.CUT_AFTER)
    await worker.work_once()
    desk.clock.advance(minutes=1)
    stranger = StripeApi("sk_test_51AnotherAccount", account.url, session=None)
    channels = {} if is_closed else by_name(CardChannel(stranger))
    sender = RefundSender(desk.database, channels, desk.clock)
    await Worker(
        desk.database, desk.settlement, sender, desk.clock, on_progress=lambda: None, pause=Pause(desk.clock)
    ).work_once()
    await stranger.close()
    parked = await desk.event(asked.event_id)
    assert (parked.outcome, parked.attempt_key is None) == (EventOutcome.PARKED, False)
    # There is room for a second one now.
    account.fail_refund(part)
    desk.clock.advance(days=2)
    await desk.retry(asked.event_id)
    await worker.work_once()
    assert (await desk.event(asked.event_id)).outcome == EventOutcome.REFUNDED
    assert account.refunded(charge_id) == asked.amount_cents


async def test_a_refund_that_stripe_has_and_has_not_made_is_waited_for(
    desk: Desk, account: StripeAccount, worker: Worker, api: StripeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge_id = await sell(desk, account)
    asked = await desk.request_refund(f"stripe:{charge_id}")
    now = api.fetch_refund

    async def held(refund_id: str) -> object:
        return (await now(refund_id)).model_copy(update={"status": "requires_action"})

    with monkeypatch.context() as patched:
        patched.setattr(api, "fetch_refund", held)
        await worker.work_once()
    waiting = await desk.event(asked.event_id)
    assert (waiting.status, waiting.outcome, waiting.attempt_key is None) == (EventStatus.FAILED, None, False)
    desk.clock.advance(minutes=1)
    await worker.work_once()
    assert (await desk.event(asked.event_id)).outcome == EventOutcome.REFUNDED
    assert len(account.refunds(charge_id)) == 1

"""Payments that Telegram names by their payment intent: Stripe's events about their charges are theirs."""

from typing import Final

import pytest

from payments.audit.facts import refund_id, returned_id
from payments.settlement.worker import Worker
from payments.stripe.watch import StripeWatch
from tests.support.cards import card_charge
from tests.support.desk import Desk
from tests.support.stripe_account import StripeAccount

INTENT_ID: Final = "pi_1"
REFUND_ID: Final = refund_id(f"stripe:{INTENT_ID}")


@pytest.fixture
async def charge_id(desk: Desk, account: StripeAccount) -> str:
    """Sell a month that Telegram names by its intent; give Stripe's charge id."""
    await desk.take(card_charge(INTENT_ID))
    return account.charge(499, payment_intent=INTENT_ID)


async def read(watch: StripeWatch, worker: Worker) -> None:
    await watch.read_once()
    while await worker.work_once():
        pass


@pytest.mark.criterion("R1", "R4")
async def test_a_refund_in_the_dashboard_ends_the_access_and_one_that_comes_back_is_on_record(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    refund = account.give_back(charge_id)
    await read(watch, worker)
    assert (await desk.event(REFUND_ID)).amount_cents == 499
    assert not await desk.holds()
    account.fail_refund(refund)
    await read(watch, worker)
    assert (await desk.event(returned_id(REFUND_ID))).amount_cents == 499


async def test_a_refund_that_is_asked_for_here_is_made_and_stays_one(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    await desk.request_refund(f"stripe:{INTENT_ID}")
    for _ in range(2):
        await read(watch, worker)
    assert account.refunded(charge_id) == 499
    assert not await desk.holds()


async def test_a_lost_dispute_ends_the_access(
    desk: Desk, account: StripeAccount, watch: StripeWatch, worker: Worker, charge_id: str
) -> None:
    account.close_dispute(account.open_dispute(charge_id), "lost")
    await read(watch, worker)
    assert not await desk.holds()

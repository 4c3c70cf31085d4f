"""Payments by card as Telegram's updates bring them, before any call to Stripe."""

from dataclasses import replace
from typing import Any

import pytest

from db.states import CheckoutVerdict, EventOutcome, EventStatus
from payments.channel import by_name
from payments.checkout import CheckoutAnswer, CheckoutDesk, CheckoutQuery
from payments.errors import UnreadableMoneyError
from payments.notices import Notice
from payments.pause import Pause
from payments.recording.updates import read_fact
from payments.refunds.sending import RefundSender
from payments.sale.eligibility import PurchaseObstacle
from payments.settlement.worker import Worker
from tests.support.cards import card_charge, card_update
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, BUYER, CATALOG, SIGNER, charge, charge_update
from tests.support.waiting import WAIT_SECONDS


def card_query(currency: str = "USD", code: str = "month") -> CheckoutQuery:
    """Return the pre-checkout query of a plan's invoice by card."""
    asked = card_charge("ch_1", code, currency)
    return CheckoutQuery("7001", BUYER.telegram_id, asked.amount, asked.currency, asked.payload)


def checkout_desk(desk: Desk, *, sells_by_card: bool = True) -> CheckoutDesk:
    return CheckoutDesk(desk.database, CATALOG, SIGNER, desk.clock, WAIT_SECONDS, sells_by_card=sells_by_card)


@pytest.mark.criterion("C1", "C2")
def test_an_update_of_a_card_payment_is_the_providers_charge() -> None:
    paid = card_charge("ch_1")
    fact = read_fact(card_update(paid))
    assert fact == paid
    assert fact.event_id == "stripe:ch_1"


@pytest.mark.criterion("E4")
@pytest.mark.parametrize("said", [None, "", 7, "x" * 1025])
def test_a_card_payment_without_the_providers_id_cannot_be_recorded(said: object) -> None:
    update = card_update(card_charge("ch_1"))
    update["message"]["successful_payment"]["provider_payment_charge_id"] = said
    with pytest.raises(UnreadableMoneyError, match="provider_payment_charge_id"):
        read_fact(update)


@pytest.mark.parametrize("said", [None, "", "any thing", 7, {}])
def test_provider_charge_id_of_a_stars_payment_is_ignored(said: Any) -> None:
    update = charge_update(charge())
    update["message"]["successful_payment"]["provider_payment_charge_id"] = said
    fact = read_fact(update)
    assert fact.event_id == "charge-1"


@pytest.mark.criterion("C4", "C5", "L2")
@pytest.mark.parametrize(
    ("query", "verdict"),
    [
        (card_query(), CheckoutVerdict.ACCEPTED),
        (card_query("JPY"), CheckoutVerdict.ACCEPTED),
        (replace(card_query(), amount=498), CheckoutVerdict.STALE_INVOICE),
        (replace(card_query(), currency="JPY"), CheckoutVerdict.STALE_INVOICE),
        (replace(card_query(), currency="XTR"), CheckoutVerdict.STALE_INVOICE),
        (replace(card_query(), telegram_id=BUYER.telegram_id + 1), PurchaseObstacle.NOT_THE_BUYER),
    ],
)
async def test_a_query_by_card_is_checked_against_the_price_in_its_currency(
    desk: Desk, query: CheckoutQuery, verdict: CheckoutAnswer
) -> None:
    assert await checkout_desk(desk).decide(query) is verdict


async def test_card_invoice_is_stale_when_cards_are_no_longer_taken(desk: Desk) -> None:
    assert await checkout_desk(desk, sells_by_card=False).decide(card_query()) is CheckoutVerdict.STALE_INVOICE


@pytest.mark.criterion("I5")
async def test_a_charge_that_came_when_cards_are_no_longer_taken_is_honoured(desk: Desk) -> None:
    settled = await desk.take(card_charge("ch_1"))
    assert (settled.event_type, settled.outcome) == ("stripe.successful_payment", EventOutcome.GRANTED)
    assert await desk.holds()


async def test_without_a_key_a_refund_by_card_waits_for_an_admin_and_goes_on_with_one(desk: Desk) -> None:
    await desk.take(card_charge("ch_1"))
    await desk.request_refund("stripe:ch_1")
    worker = Worker(
        desk.database,
        desk.settlement,
        RefundSender(desk.database, by_name(), desk.clock),
        desk.clock,
        on_progress=lambda: None,
        pause=Pause(desk.clock),
    )
    await worker.work_once()
    refund = await desk.event("refund:stripe:ch_1")
    assert (refund.status, refund.outcome, refund.error) == (
        EventStatus.FAILED,
        EventOutcome.PARKED,
        "no way to refund stripe is set up",
    )
    assert (Notice.PARKED, ADMIN_CHAT_ID) in await desk.told("refund:stripe:ch_1")
    await desk.retry("refund:stripe:ch_1")
    assert (await desk.event("refund:stripe:ch_1")).due_at == desk.clock()
    assert await desk.holds()

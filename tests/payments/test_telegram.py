from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from aiogram import Bot

from db.states import STARS_CURRENCY, CheckoutVerdict, EventOutcome
from payments.audit.facts import ChargeFact, RefundFact
from payments.checkout import CheckoutQuery
from payments.errors import AnotherServicesRowError
from payments.recording.updates import read_fact
from payments.sale.payload import PayloadVerdict
from payments.telegram import TelegramPaymentHandler
from sandbox.client import SandboxClient
from tests.support.desk import Desk
from tests.support.money import BUYER, SIGNER, charge, order, plan, refund
from tests.support.rows import add_other_services_event

BUYER_ID: Final = BUYER.telegram_id


async def _update(bot: Bot, telegram: SandboxClient, field: str) -> dict[str, Any]:
    """Take the raw update that has a field, and confirm all up to it."""

    async def come() -> dict[str, Any] | None:
        waiting = [record.update for record in await telegram.updates_waiting()]
        return next((update for update in waiting if field in update or field in update.get("message", {})), None)

    update = await telegram.wait_until(come, what=field)
    await bot.get_updates(offset=update["update_id"] + 1, timeout=0)
    return update


@pytest.mark.criterion("L1", "S1")
async def test_an_invoice_says_what_is_sold_and_its_payload_proves_it(
    handler: TelegramPaymentHandler, telegram: SandboxClient
) -> None:
    await telegram.add_person("Buyer", id=BUYER_ID, started=True)
    sent = await handler.send_invoice(
        BUYER_ID, BUYER_ID, plan("month"), currency=STARS_CURRENCY, keyboard=None, topic_id=None
    )
    assert sent.invoice is not None
    assert (sent.invoice.title, sent.invoice.currency, sent.invoice.total_amount) == ("Premium, 30 days", "XTR", 200)
    (call,) = await telegram.calls("sendInvoice")
    reading = SIGNER.read(call.args["payload"])
    assert reading.verdict is PayloadVerdict.VALID
    assert reading.order is not None
    assert reading.order == replace(order("month"), nonce=reading.order.nonce)
    # A forwarded copy opens the bot, where an invoice of one's own can be had; nobody can pay this one.
    forwarded = await telegram.forward_invoice(BUYER_ID, sent.message_id)
    assert forwarded.offer_id is None
    assert (forwarded.url or "").endswith("?start=buy_month")


@pytest.mark.criterion("C1", "C6", "C7", "L1", "L2", "R1", "R4")
async def test_an_invoice_is_paid_granted_and_refunded(
    desk: Desk, handler: TelegramPaymentHandler, bot: Bot, telegram: SandboxClient
) -> None:
    await telegram.add_person("Buyer", id=BUYER_ID, balance_stars=200, started=True)
    sent = await handler.send_invoice(
        BUYER_ID, BUYER_ID, plan("month"), currency=STARS_CURRENCY, keyboard=None, topic_id=None
    )
    payment = await telegram.start_payment(BUYER_ID, message_id=sent.message_id)
    asked = (await _update(bot, telegram, "pre_checkout_query"))["pre_checkout_query"]
    query = CheckoutQuery(
        asked["id"], asked["from"]["id"], asked["total_amount"], asked["currency"], asked["invoice_payload"]
    )
    assert await handler.validate_pre_checkout(query) is CheckoutVerdict.ACCEPTED
    await bot.answer_pre_checkout_query(asked["id"], ok=True)

    paid = read_fact(await _update(bot, telegram, "successful_payment"))
    assert isinstance(paid, ChargeFact)
    assert paid.charge_id == (await telegram.payment_end(payment.id)).charge_id
    desk.clock.now = paid.happened_at
    event = await handler.handle_successful_payment(paid)
    assert event is not None
    assert event.outcome == EventOutcome.GRANTED
    assert await desk.holds()

    await telegram.refund_elsewhere(paid.charge_id)
    refunded = read_fact(await _update(bot, telegram, "refunded_payment"))
    assert isinstance(refunded, RefundFact)
    event = await handler.handle_refund(refunded)
    assert event is not None
    assert event.outcome == EventOutcome.REFUNDED
    assert not await desk.holds()
    assert await telegram.calls("refundStarPayment") == []


async def test_a_refund_that_telegram_tells_of_is_not_asked_for_at_telegram(
    desk: Desk, handler: TelegramPaymentHandler, telegram: SandboxClient
) -> None:
    await handler.handle_successful_payment(charge())
    await desk.request_refund("charge-1")
    event = await handler.handle_refund(refund(charge()))
    assert event is not None
    assert (event.outcome, event.webhook_timestamp) == (EventOutcome.REFUNDED, refund(charge()).happened_at)
    assert await telegram.calls("refundStarPayment") == []


@pytest.mark.criterion("C3")
async def test_a_charge_that_is_handled_again_is_the_same_event(desk: Desk, handler: TelegramPaymentHandler) -> None:
    first = await handler.handle_successful_payment(charge())
    desk.clock.advance(days=1)
    again = await handler.handle_successful_payment(charge())
    assert first is not None
    assert again is not None
    assert (first.id, first.processed_at) == (again.id, again.processed_at)
    assert await desk.expires_at() == charge().happened_at + timedelta(days=30)


@pytest.mark.criterion("I5")
async def test_another_services_row_is_not_handled(desk: Desk, handler: TelegramPaymentHandler) -> None:
    await desk.record(charge("makes the buyer known"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "charge-1", await desk.user_id())
    with pytest.raises(AnotherServicesRowError):
        await handler.handle_successful_payment(charge())
    assert await desk.access() is None

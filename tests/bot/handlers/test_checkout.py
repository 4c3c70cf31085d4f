from datetime import timedelta

import pytest
from loguru import logger
from sqlalchemy import select

from db.tables import Checkout, StripeEvent
from sandbox.checkout import PaymentState
from tests.support.chats import Chats


@pytest.mark.criterion("C9")
@pytest.mark.criterion("I3")
async def test_a_payment_is_confirmed_with_what_it_opened_and_the_charge_id(chats: Chats) -> None:
    buyer = chats.people.buyer
    charge_id = await chats.buy(buyer, "month")
    told = (await chats.said(buyer.id))[-1].text()
    assert "You paid 200 ⭐ for Premium, 30 days." in told
    assert "premium until" in told
    assert charge_id in told
    assert "premium until" in (await chats.answer(buyer, "/status")).text()


@pytest.mark.criterion("L2")
@pytest.mark.criterion("S12")
async def test_a_payment_that_is_declined_opens_nothing_and_says_why(chats: Chats) -> None:
    buyer = chats.people.buyer
    invoice = await chats.answer(buyer, "/buy month")
    await chats.buy(buyer, "life")
    payment = await chats.pay(buyer, invoice)
    assert payment.state is PaymentState.DECLINED
    assert payment.error_message == "This is yours for ever already. Nothing was charged."
    async with chats.database.reading() as session:
        assert len((await session.scalars(select(StripeEvent))).all()) == 1
        verdicts = await session.scalars(select(Checkout.verdict).order_by(Checkout.created_at))
        assert verdicts.all() == ["accepted", "held_for_life"]


async def test_an_answer_that_comes_too_late_is_told_to_the_log_as_no_error(chats: Chats) -> None:
    invoice = await chats.answer(chats.people.buyer, "/buy month")
    payment = await chats.client.start_payment(
        chats.people.buyer.id, message_id=invoice.message_id, chat_id=invoice.chat_id
    )
    await chats.client.move_clock(timedelta(seconds=11).total_seconds())
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    await chats.serve()
    logger.remove(sink)
    assert any(line.startswith("INFO an answer came too late") for line in lines)
    assert not any(line.startswith(("ERROR", "WARNING")) for line in lines)
    assert (await chats.client.payment(payment.id)).state is PaymentState.TIMED_OUT


async def test_a_payment_is_handled_from_its_fact_whatever_else_its_message_holds(chats: Chats) -> None:
    invoice = await chats.answer(chats.people.buyer, "/buy month")
    await chats.client.double_updates(kind="successful_payment")
    await chats.pay(chats.people.buyer, invoice)
    told = [each.text() for each in await chats.said(chats.people.buyer.id, after=invoice.message_id)]
    assert len(told) == 1, "the same payment twice is told once"

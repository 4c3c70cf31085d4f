"""A purchase in the sandbox: invoice, pre-checkout, charge, refund."""

import asyncio

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import LabeledPrice, Message, Update

from sandbox.checkout import PaymentState
from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.server import SandboxServer, running_sandbox


async def invoice(bot: Bot, person: Person, *, start_parameter: str | None = "buy_pro", stars: int = 200) -> Message:
    return await bot.send_invoice(
        person.id,
        title="Pro",
        description="All of it",
        payload="order-1",
        currency="XTR",
        prices=[LabeledPrice(label="Pro", amount=stars)],
        start_parameter=start_parameter,
    )


async def next_updates(bot: Bot) -> list[Update]:
    """Fetch what waits, and confirm it."""
    updates = await bot.get_updates(timeout=5)
    await bot.get_updates(offset=updates[-1].update_id + 1)
    return updates


async def test_a_payment_and_its_refund(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await invoice(bot, ann)
    assert sent.invoice is not None
    assert (sent.invoice.total_amount, sent.invoice.start_parameter) == (200, "buy_pro")

    payment = await client.start_payment(ann.id, message_id=sent.message_id)
    assert payment.state is PaymentState.ASKING
    [asked] = await next_updates(bot)
    query = asked.pre_checkout_query
    assert query is not None
    assert (query.from_user.id, query.currency, query.total_amount, query.invoice_payload) == (
        ann.id,
        "XTR",
        200,
        "order-1",
    )
    assert query.id.isdigit()
    assert await bot.answer_pre_checkout_query(query.id, ok=True)

    payment = await client.payment_end(payment.id)
    assert payment.state is PaymentState.PAID
    [told] = await next_updates(bot)
    assert told.message is not None
    paid = told.message.successful_payment
    assert paid is not None
    assert told.message.from_user is not None
    assert (told.message.from_user.id, told.message.chat.id) == (ann.id, ann.id)
    assert (paid.currency, paid.total_amount, paid.invoice_payload) == ("XTR", 200, "order-1")
    assert paid.telegram_payment_charge_id == payment.charge_id
    assert (paid.is_recurring, paid.is_first_recurring, paid.subscription_expiration_date) == (None, None, None)
    assert (await client.person(ann.id)).balance_stars == 800
    assert (await bot.get_my_star_balance()).amount == 200

    assert await bot.refund_star_payment(ann.id, paid.telegram_payment_charge_id)
    [refunded] = await next_updates(bot)
    assert refunded.message is not None
    assert refunded.message.refunded_payment is not None
    assert refunded.message.refunded_payment.telegram_payment_charge_id == payment.charge_id
    assert refunded.message.from_user is not None
    assert (refunded.message.from_user.id, refunded.message.chat.id) == (bot.id, ann.id)
    assert (await client.person(ann.id)).balance_stars == 1_000
    transactions = (await bot.get_star_transactions()).transactions
    assert [row.id for row in transactions] == [payment.charge_id, payment.charge_id]
    assert transactions[0].source is not None
    assert transactions[0].receiver is None
    assert transactions[1].source is None
    assert transactions[1].receiver is not None
    with pytest.raises(TelegramBadRequest, match="Bad Request: CHARGE_ALREADY_REFUNDED"):
        await bot.refund_star_payment(ann.id, paid.telegram_payment_charge_id)


async def test_the_payer_sees_why_the_bot_declines_and_nothing_is_charged(
    bot: Bot, client: SandboxClient, ann: Person
) -> None:
    sent = await invoice(bot, ann)
    payment = await client.start_payment(ann.id, message_id=sent.message_id)
    [asked] = await next_updates(bot)
    assert asked.pre_checkout_query is not None
    await bot.answer_pre_checkout_query(asked.pre_checkout_query.id, ok=False, error_message="Sold out")
    payment = await client.payment_end(payment.id)
    assert (payment.state, payment.error_message) == (PaymentState.DECLINED, "Sold out")
    assert (await client.person(ann.id)).balance_stars == 1_000
    assert await client.ledger_length() == 0


async def test_ten_seconds_without_an_answer_are_a_time_out(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await invoice(bot, ann)
    payment = await client.start_payment(ann.id, message_id=sent.message_id)
    end = asyncio.create_task(client.payment_end(payment.id))
    await client.move_clock(10)
    assert (await end).state is PaymentState.TIMED_OUT
    [dead] = await next_updates(bot)
    assert dead.pre_checkout_query is not None
    with pytest.raises(
        TelegramBadRequest, match="query is too old and response timeout expired or query ID is invalid"
    ):
        await bot.answer_pre_checkout_query(dead.pre_checkout_query.id, ok=True)
    assert (await client.person(ann.id)).balance_stars == 1_000


async def test_an_answer_counts_once(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await invoice(bot, ann)
    await client.start_payment(ann.id, message_id=sent.message_id)
    [asked] = await next_updates(bot)
    assert asked.pre_checkout_query is not None
    await bot.answer_pre_checkout_query(asked.pre_checkout_query.id, ok=True)
    with pytest.raises(TelegramBadRequest, match="query is too old"):
        await bot.answer_pre_checkout_query(asked.pre_checkout_query.id, ok=True)
    await client.move_clock(10)
    assert [payment.state for payment in await client.payments()] == [PaymentState.PAID]
    assert len(await client.charges()) == 1


async def test_a_refusal_needs_words(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await invoice(bot, ann)
    payment = await client.start_payment(ann.id, message_id=sent.message_id)
    [asked] = await next_updates(bot)
    assert asked.pre_checkout_query is not None
    with pytest.raises(TelegramBadRequest, match='parameter "error_message" is required'):
        await bot.answer_pre_checkout_query(asked.pre_checkout_query.id, ok=False)
    assert (await client.payment(payment.id)).state is PaymentState.ASKING


async def test_the_bot_is_not_asked_when_the_balance_is_too_low(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await invoice(bot, ann, stars=1_001)
    payment = await client.pay(ann.id, message_id=sent.message_id)
    assert payment.state is PaymentState.BALANCE_TOO_LOW
    assert await client.updates_waiting() == []


async def test_stars_spent_elsewhere_meanwhile_end_the_payment(bot: Bot, client: SandboxClient, ann: Person) -> None:
    sent = await invoice(bot, ann)
    payment = await client.start_payment(ann.id, message_id=sent.message_id)
    [asked] = await next_updates(bot)
    await client.set_balance(ann.id, 199)
    assert asked.pre_checkout_query is not None
    assert await bot.answer_pre_checkout_query(asked.pre_checkout_query.id, ok=True)
    assert (await client.payment_end(payment.id)).state is PaymentState.BALANCE_TOO_LOW
    assert await client.charges() == []


async def test_a_sandbox_starts_empty_and_apart_from_others(server: SandboxServer, bot: Bot, ann: Person) -> None:
    async with running_sandbox() as other:
        assert other.url != server.url
        assert await other.client.persons() == []
        assert [person.id for person in await server.client.persons()] == [ann.id]
        assert (await bot.get_me()).username == "sandbox_bot"

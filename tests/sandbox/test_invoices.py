"""Invoices in the sandbox: every check of sendInvoice and createInvoiceLink, and the payers of each."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiogram import Bot
from aiogram.types import LabeledPrice

from sandbox.checkout import PaymentState
from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.remote.transport import SandboxError

Api = Callable[..., Awaitable[dict[str, Any]]]
PRICES = [{"label": "Pro", "amount": 200}]
GOOD: dict[str, Any] = {
    "title": "Pro",
    "description": "All of it",
    "payload": "order-1",
    "currency": "XTR",
    "prices": PRICES,
    "provider_token": "",
}


def pay_keyboard(*kinds: str) -> str:
    row = [{"text": kind, **({"pay": True} if kind == "Pay" else {"callback_data": "x"})} for kind in kinds]
    return json.dumps({"inline_keyboard": [row]})


async def paid(bot: Bot, client: SandboxClient, user_id: int, **what: Any) -> PaymentState:
    """Let a person pay, with a bot that says yes."""
    payment = await client.start_payment(user_id, **what)
    if payment.state is PaymentState.ASKING:
        assert payment.query_id is not None
        await bot.answer_pre_checkout_query(payment.query_id, ok=True)
    return (await client.payment_end(payment.id)).state


async def link_to(bot: Bot) -> str:
    prices = [LabeledPrice(label="Pro", amount=200)]
    return await bot.create_invoice_link("Pro", "All of it", "order-1", "XTR", prices)


@pytest.mark.parametrize("method", ["sendInvoice", "createInvoiceLink"])
@pytest.mark.parametrize(
    ("wrong", "description"),
    [
        ({"title": "", "description": ""}, 'parameter "title" is required'),
        ({"description": "", "payload": ""}, 'parameter "description" is required'),
        ({"payload": "", "currency": ""}, 'parameter "payload" is required'),
        ({"payload": "\ud800", "currency": ""}, "the payload must be encoded in UTF-8"),
        ({"currency": "", "prices": ""}, 'parameter "currency" is required'),
        ({"prices": "", "max_tip_amount": "many"}, 'parameter "prices" is required'),
        ({"prices": "{", "max_tip_amount": "many"}, "can't parse prices JSON object"),
        ({"prices": "{}", "max_tip_amount": "many"}, "expected an Array of labeled prices"),
        ({"prices": [5]}, "can't parse labeled price: LabeledPrice must be an Object"),
        ({"prices": [{"amount": 5}]}, "can't parse labeled price: Can't find field \"label\""),
        ({"prices": [{"label": "", "amount": 5}]}, "can't parse labeled price: LabeledPrice label must be non-empty"),
        ({"prices": [{"label": "x"}]}, "can't parse labeled price: Can't find field \"amount\""),
        ({"prices": [{"label": "x", "amount": 1.5}]}, 'can\'t parse labeled price: Field "amount" must be a Number'),
        ({"prices": [], "max_tip_amount": "many"}, "there must be at least one price"),
        ({"max_tip_amount": "many", "suggested_tip_amounts": "{"}, 'can\'t parse "max_tip_amount" as Number'),
        ({"suggested_tip_amounts": "{"}, "can't parse suggested_tip_amounts JSON object"),
        ({"prices": [{"label": "x", "amount": 0}], "currency": "XTS"}, "total price must be positive"),
        ({"prices": [{"label": "x", "amount": -5}]}, "total price must be positive"),
        ({"prices": [{"label": "x", "amount": 10**12}]}, "too big amount of the currency specified"),
        ({"prices": [{"label": "x", "amount": 10**12 - 1}] * 2}, "total price is too big"),
        ({"payload": "é" * 65}, "INVOICE_PAYLOAD_INVALID"),
        ({"title": "x" * 33}, "MEDIA_INVALID"),
        ({"description": "x" * 256}, "MEDIA_INVALID"),
        ({"currency": "XTS"}, "PAYMENT_PROVIDER_INVALID"),
        ({"currency": "USD"}, "PAYMENT_PROVIDER_INVALID"),
        ({"provider_token": "stripe"}, "PAYMENT_PROVIDER_INVALID"),
        ({"prices": PRICES * 2}, "STARS_INVOICE_INVALID"),
        ({"max_tip_amount": 5}, "STARS_INVOICE_INVALID"),
        ({"need_email": True}, "STARS_INVOICE_INVALID"),
        ({"start_parameter": "x y"}, "START_PARAM_INVALID"),
        ({"start_parameter": "x" * 65}, "START_PARAM_TOO_LONG"),
        ({"prices": [{"label": "x", "amount": 100_001}]}, "CURRENCY_TOTAL_AMOUNT_INVALID"),
    ],
)
async def test_wrong_invoice_is_refused_by_both_methods(
    method: str, wrong: dict[str, Any], description: str, api: Api, ann: Person
) -> None:
    answer = await api(method, **({"chat_id": ann.id} | GOOD | wrong))
    assert answer["description"] == f"Bad Request: {description}"


@pytest.mark.parametrize(
    ("wrong", "description"),
    [
        ({"title": "", "reply_markup": "{", "chat_id": 77}, 'parameter "title" is required'),
        ({"reply_markup": "{", "chat_id": 77}, "can't parse reply keyboard markup JSON object"),
        ({"chat_id": 77, "currency": "XTS"}, "chat not found"),
        ({"subscription_period": 2_592_000}, "SUBSCRIPTION_EXPORT_MISSING"),
        ({"reply_markup": pay_keyboard("Other", "Pay")}, "REPLY_MARKUP_BUY_EMPTY"),
        ({"reply_markup": pay_keyboard("Pay", "Pay")}, "BUTTON_TYPE_INVALID"),
    ],
)
async def test_wrong_invoice_message_is_refused(wrong: dict[str, Any], description: str, api: Api, ann: Person) -> None:
    answer = await api("sendInvoice", **({"chat_id": ann.id} | GOOD | wrong))
    assert answer["description"] == f"Bad Request: {description}"


@pytest.mark.parametrize(
    ("wrong", "description"),
    [
        ({"subscription_period": 86_400}, "SUBSCRIPTION_PERIOD_INVALID"),
        (
            {"subscription_period": 2_592_000, "prices": [{"label": "x", "amount": 10_001}]},
            "SUBSCRIPTION_AMOUNT_INVALID",
        ),
    ],
)
async def test_wrong_invoice_link_is_refused(wrong: dict[str, Any], description: str, api: Api) -> None:
    assert (await api("createInvoiceLink", **(GOOD | wrong)))["description"] == f"Bad Request: {description}"


async def test_the_limits_themselves_are_taken(api: Api, client: SandboxClient, ann: Person) -> None:
    widest = {"title": "x" * 32, "description": "x" * 255, "payload": "é" * 64, "start_parameter": "x" * 64}
    most = {"prices": [{"label": "x", "amount": 100_000}]}
    answer = await api("sendInvoice", chat_id=ann.id, **(GOOD | widest | most), reply_markup=pay_keyboard("Pay", "x"))
    assert answer["ok"]
    subscription = {"subscription_period": 2_592_000, "prices": [{"label": "x", "amount": 10_000}]}
    assert (await api("createInvoiceLink", **(GOOD | subscription)))["ok"]
    await client.set_switches(price_stars_max=99_999)
    assert not (await api("createInvoiceLink", **(GOOD | most)))["ok"]


async def test_the_message_shows_no_payload(api: Api, ann: Person) -> None:
    message = (await api("sendInvoice", chat_id=ann.id, **GOOD))["result"]
    assert message["invoice"] == {
        "title": "Pro",
        "description": "All of it",
        "start_parameter": "",
        "currency": "XTR",
        "total_amount": 200,
    }
    assert "order-1" not in json.dumps(message)


async def test_an_invoice_with_a_start_parameter_is_paid_once_and_by_its_buyer(
    bot: Bot, api: Api, client: SandboxClient, ann: Person, ben: Person
) -> None:
    sent = (await api("sendInvoice", chat_id=ann.id, start_parameter="buy_pro", **GOOD))["result"]
    forwarded = await client.forward_invoice(ann.id, sent["message_id"])
    assert (forwarded.offer_id, forwarded.url) == (None, "https://t.me/sandbox_bot?start=buy_pro")
    with pytest.raises(SandboxError, match="no Pay button"):
        await client.start_payment(ben.id, chat_id=ann.id, message_id=sent["message_id"])
    assert await paid(bot, client, ann.id, message_id=sent["message_id"]) is PaymentState.PAID
    assert await paid(bot, client, ann.id, message_id=sent["message_id"]) is PaymentState.ALREADY_PAID


async def test_two_attempts_at_once_on_one_invoice_end_in_one_charge(
    bot: Bot, api: Api, client: SandboxClient, ann: Person
) -> None:
    sent = (await api("sendInvoice", chat_id=ann.id, start_parameter="buy_pro", **GOOD))["result"]
    attempts = [await client.start_payment(ann.id, message_id=sent["message_id"]) for _ in range(2)]
    for attempt in attempts:
        assert attempt.query_id is not None
        assert await bot.answer_pre_checkout_query(attempt.query_id, ok=True)
    states = [(await client.payment(attempt.id)).state for attempt in attempts]
    assert states == [PaymentState.PAID, PaymentState.ALREADY_PAID]
    assert len(await client.charges()) == 1


async def test_without_a_start_parameter_a_copy_keeps_its_pay_button(
    bot: Bot, api: Api, client: SandboxClient, ann: Person, ben: Person
) -> None:
    sent = (await api("sendInvoice", chat_id=ann.id, **GOOD))["result"]
    forwarded = await client.forward_invoice(ann.id, sent["message_id"])
    assert forwarded.url is None
    assert await paid(bot, client, ben.id, offer=forwarded.offer_id) is PaymentState.PAID
    assert await paid(bot, client, ann.id, message_id=sent["message_id"]) is PaymentState.PAID
    [first, second] = await client.charges()
    assert (first.user_id, second.user_id, first.payload) == (ben.id, ann.id, second.payload)
    assert first.id != second.id


async def test_a_link_is_paid_by_anyone_many_times(bot: Bot, client: SandboxClient, ann: Person, ben: Person) -> None:
    link = await link_to(bot)
    assert link.startswith("https://t.me/$")
    stranger = await client.add_person("Eve", balance_stars=200)
    for user_id in (ann.id, ben.id, ann.id, stranger.id):
        assert await paid(bot, client, user_id, offer=link) is PaymentState.PAID
    assert len({charge.id for charge in await client.charges()}) == 4
    assert (await bot.send_message(stranger.id, "thank you")).chat.id == stranger.id


async def test_an_invoice_in_a_group_is_paid_by_members_in_their_own_chats(
    bot: Bot, api: Api, client: SandboxClient, ann: Person, ben: Person
) -> None:
    group = await client.add_group("Club", member_ids=[ann.id])
    sent = (await api("sendInvoice", chat_id=group.id, **GOOD))["result"]
    with pytest.raises(SandboxError, match="no member"):
        await client.start_payment(ben.id, chat_id=group.id, message_id=sent["message_id"])
    assert await paid(bot, client, ann.id, chat_id=group.id, message_id=sent["message_id"]) is PaymentState.PAID
    assert "successful_payment" in (await client.chat(ann.id))[-1].message


async def test_message_without_an_invoice_cannot_be_paid(bot: Bot, client: SandboxClient, ann: Person) -> None:
    text = await bot.send_message(ann.id, "no invoice")
    for what in ({"message_id": text.message_id}, {"message_id": 999}, {"offer": "https://t.me/$nothing"}):
        with pytest.raises(SandboxError):
            await client.start_payment(ann.id, **what)
    with pytest.raises(SandboxError, match="no invoice"):
        await client.forward_invoice(ann.id, text.message_id)

"""Payments by card: the provider token, the well-known numbers, and the charge at a Stripe."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import LabeledPrice, SuccessfulPayment

from sandbox import cards
from sandbox.checkout import Payment, PaymentState
from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.remote.transport import SandboxError
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import PROVIDER_TOKEN, STRIPE_KEY, Settings
from sandbox.stripe.account import DECLINED_CARD
from tests.support.bots import talking_bot
from tests.support.stripe_account import StripeAccount, running_stripe_account


@pytest.fixture
async def account() -> AsyncIterator[StripeAccount]:
    async with running_stripe_account(lambda: datetime.now(UTC)) as account:
        account.key = STRIPE_KEY
        yield account


async def send_invoice(bot: Bot, person: Person, currency: str = "USD", token: str = PROVIDER_TOKEN) -> int:
    sent = await bot.send_invoice(
        person.id,
        title="Pro",
        description="All of it",
        payload="order-1",
        currency=currency,
        prices=[LabeledPrice(label="Pro", amount=400), LabeledPrice(label="Tax", amount=99)],
        provider_token=token,
        start_parameter="buy_pro",
    )
    return sent.message_id


async def pay(bot: Bot, client: SandboxClient, person: Person, card: str | None = None) -> Payment:
    payment = await client.start_payment(person.id, message_id=await send_invoice(bot, person), card=card)
    [asked] = await bot.get_updates(timeout=5)
    assert asked.pre_checkout_query is not None
    query = asked.pre_checkout_query
    assert (query.currency, query.total_amount, query.invoice_payload) == ("USD", 499, "order-1")
    await bot.answer_pre_checkout_query(query.id, ok=True)
    await bot.get_updates(offset=asked.update_id + 1)
    return await client.payment_end(payment.id)


async def told(bot: Bot) -> SuccessfulPayment:
    [update] = await bot.get_updates(timeout=5)
    assert update.message is not None
    assert update.message.successful_payment is not None
    return update.message.successful_payment


async def test_a_card_is_paid_and_no_star_moves(bot: Bot, client: SandboxClient, ann: Person) -> None:
    payment = await pay(bot, client, ann)
    assert payment.state is PaymentState.PAID
    paid = await told(bot)
    assert (paid.currency, paid.total_amount, paid.invoice_payload) == ("USD", 499, "order-1")
    assert (paid.telegram_payment_charge_id, paid.provider_payment_charge_id[:3]) == (payment.charge_id, "ch_")
    assert (await client.person(ann.id)).balance_stars == ann.balance_stars
    assert (await bot.get_star_transactions()).transactions == []
    [charge] = await client.card_charges(ann.id)
    assert (charge.provider_id, charge.amount, charge.last4) == (paid.provider_payment_charge_id, 499, "4242")
    [at_stripe] = await client.stripe_charges()
    assert (at_stripe.charge["id"], at_stripe.user_id) == (charge.provider_id, ann.id)
    assert (at_stripe.charge["amount"], at_stripe.charge["currency"]) == (499, "usd")
    with pytest.raises(TelegramBadRequest, match="CHARGE_NOT_FOUND"):
        await bot.refund_star_payment(ann.id, paid.telegram_payment_charge_id)


async def test_a_declined_card_is_charged_nothing_and_can_be_replaced(
    bot: Bot, client: SandboxClient, ann: Person
) -> None:
    payment = await pay(bot, client, ann, "4000 0000 0000 0002")
    assert (payment.state, payment.error_message) == (PaymentState.CARD_DECLINED, "Your card was declined.")
    assert await client.card_charges() == []
    [at_stripe] = await client.stripe_charges()
    assert (at_stripe.charge["status"], at_stripe.user_id) == ("failed", None)
    assert (await pay(bot, client, ann)).state is PaymentState.PAID


@pytest.mark.parametrize(("currency", "token"), [("USD", ""), ("USD", "1:TEST:another"), ("XXX?", PROVIDER_TOKEN)])
async def test_without_the_providers_token_or_a_currency_there_is_no_invoice(
    bot: Bot, ann: Person, currency: str, token: str
) -> None:
    with pytest.raises(TelegramBadRequest, match="PAYMENT_PROVIDER_INVALID"):
        await send_invoice(bot, ann, currency, token)


async def test_a_card_has_a_number(bot: Bot, client: SandboxClient, ann: Person) -> None:
    with pytest.raises(SandboxError, match="16 digits"):
        await client.start_payment(ann.id, message_id=await send_invoice(bot, ann), card="mine")


async def test_the_charge_is_made_at_another_stripe(account: StripeAccount) -> None:
    async with shop(account.url) as (server, bot, ann):
        payment = await pay(bot, server.client, ann)
        assert payment.state is PaymentState.PAID
        charge = account.objects[(await told(bot)).provider_payment_charge_id]
        assert await server.client.stripe_charges() == []
    assert (charge["amount"], charge["currency"]) == (499, "usd")


async def test_payer_reads_stripes_words_of_a_declined_card(
    account: StripeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "DECLINED_CARD", "none")
    async with shop(account.url) as (server, bot, ann):
        payment = await pay(bot, server.client, ann, DECLINED_CARD)
    assert (payment.state, payment.error_message) == (PaymentState.CARD_DECLINED, "Your card was declined.")


async def test_a_stripe_that_is_away_charges_nothing(unused_tcp_port: int) -> None:
    async with shop(f"http://127.0.0.1:{unused_tcp_port}") as (server, bot, ann):
        payment = await pay(bot, server.client, ann)
    assert payment.state is PaymentState.CARD_DECLINED
    assert payment.error_message == "The payment provider did not answer."


@asynccontextmanager
async def shop(stripe_url: str) -> AsyncIterator[tuple[SandboxServer, Bot, Person]]:
    """Open a sandbox whose cards are charged at a Stripe."""
    async with (
        running_sandbox(Settings(seed=1, stripe_url=stripe_url)) as server,
        talking_bot(server.url, server.token) as bot,
    ):
        yield server, bot, await server.client.add_person("Ann", balance_stars=1_000, started=True)

"""Telegram's other side on the page: the ledger, faults as switches, the bot's calls and answers."""

import asyncio
import re

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.exceptions import TelegramNetworkError
from aiogram.types import LabeledPrice
from aiohttp import ClientSession
from playwright.async_api import Page, expect

from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.settings import PROVIDER_TOKEN, STRIPE_KEY
from tests.support.browser import copied

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def stage(opened: Page) -> Page:
    await opened.get_by_role("button", name="Behind the scenes").click()
    return opened


async def paid(client: SandboxClient, bot: Bot, name: str, stars: int) -> Person:
    """Let a new person pay so much."""
    person = await client.add_person(name, balance_stars=stars, started=True)
    prices = [LabeledPrice(label="A book", amount=stars)]
    sent = await bot.send_invoice(person.id, "A book", "About it", "book", "XTR", prices)
    payment = await client.start_payment(person.id, message_id=sent.message_id)
    assert payment.query_id is not None
    await bot.answer_pre_checkout_query(payment.query_id, ok=True)
    return person


async def test_the_ledger_shows_a_payment_and_refunds_it_as_support_does(
    stage: Page, client: SandboxClient, bot: Bot
) -> None:
    person = await paid(client, bot, "Yara", 321)
    ledger = stage.get_by_role("region", name="The bot's Stars")
    await ledger.get_by_text("+321").click()
    await ledger.get_by_role("button", name="Refund it, as Telegram's support would").click()
    await ledger.get_by_text("-321").wait_for()
    await client.wait_for(person.id, lambda found: "refunded_payment" in found.message)
    await ledger.get_by_role("button", name="Refund it, as Telegram's support would").click()
    await stage.get_by_text("there is no charge").wait_for()


async def paid_by_card(client: SandboxClient, bot: Bot, name: str) -> str:
    """Let a new person pay 4.99 dollars; gives Stripe's charge id."""
    person = await client.add_person(name, started=True)
    prices = [LabeledPrice(label="A book", amount=499)]
    offer = ("A book", "About it", "book", "USD", prices)
    sent = await bot.send_invoice(person.id, *offer, provider_token=PROVIDER_TOKEN)
    payment = await client.start_payment(person.id, message_id=sent.message_id)
    assert payment.query_id is not None
    await bot.answer_pre_checkout_query(payment.query_id, ok=True)
    [charge] = await client.card_charges(person.id)
    return charge.provider_id


async def events(client: SandboxClient, charge_id: str) -> list[str]:
    """Read what Stripe tells about a charge, oldest first, as a bot does."""
    about = await client.about()
    async with (
        ClientSession(headers={"Authorization": f"Bearer {about.stripe_key}"}) as http,
        http.get(f"{client.url}/v1/events?limit=100") as answer,
    ):
        told = (await answer.json())["data"]
    return [each["type"] for each in reversed(told) if charge_id in str(each["data"]["object"])]


async def test_a_charge_at_stripe_is_given_back_in_parts_and_the_bank_sends_one_back(
    stage: Page, client: SandboxClient, bot: Bot
) -> None:
    charge_id = await paid_by_card(client, bot, "Ylva")
    row = stage.get_by_role("region", name="The account at Stripe").locator(".item", has_text=charge_id)
    await expect(row).to_contain_text(re.compile(r"Ylva\s*\$4\.99\s*paid"))
    amount = stage.get_by_role("spinbutton", name="Amount, of $4.99")
    for asked in ("5", "1.99"):
        await row.get_by_role("button", name="Give a part back").click()
        await expect(amount).to_have_value("2.49")
        await amount.fill(asked)
        await stage.get_by_role("button", name="Give it back").click()
        await expect(amount).to_be_hidden()
    await stage.get_by_text("greater than unrefunded amount").wait_for()
    await expect(row).to_contain_text(re.compile(r"partly given back.*Given back \$1\.99\s*succeeded", re.DOTALL))
    await row.get_by_role("button", name="Give the rest back").click()
    await expect(row).to_contain_text("Given back $3.00")
    await expect(row.locator(".badge").first).to_have_text("given back")
    await expect(row.get_by_role("button", name="Give")).to_have_count(0)
    await row.get_by_role("button", name="The bank sends it back").last.click()
    await expect(row.locator(".badge").last).to_have_text("failed")
    await expect(row.locator(".badge").first).to_have_text("partly given back")
    told = ["charge.succeeded", "charge.refunded", "charge.refunded", "refund.failed"]
    assert await events(client, charge_id) == told


async def test_a_dispute_is_opened_and_closed(stage: Page, client: SandboxClient, bot: Bot) -> None:
    for name, end, state in (("Yusuf", "won", "paid"), ("Yann", "lost", "dispute lost")):
        charge_id = await paid_by_card(client, bot, name)
        row = stage.get_by_role("region", name="The account at Stripe").locator(".item", has_text=charge_id)
        await row.get_by_role("button", name="Dispute it").click()
        await expect(row).to_contain_text(re.compile(r"disputed.*Disputed \$4\.99\s*needs response", re.DOTALL))
        await expect(row.get_by_role("button", name="Give it all back")).to_have_count(0)
        await row.get_by_role("button", name=f"Close it: {end}").click()
        await expect(row.locator(".badge").last).to_have_text(end)
        await expect(row.locator(".badge").first).to_have_text(state)
        await expect(row.get_by_role("button", name="Dispute it")).to_have_count(0)
        await expect(row.get_by_role("button", name="Give it all back")).to_have_count(1 if end == "won" else 0)
        told = ["charge.succeeded", "charge.dispute.created", "charge.dispute.closed"]
        assert await events(client, charge_id) == told


async def test_a_fault_is_switched_on_and_switches_itself_off(stage: Page, client: SandboxClient, bot: Bot) -> None:
    person = await client.add_person("Zoe", started=True)
    lost = stage.get_by_role("switch", name="The next payment's update is lost")
    refused = stage.get_by_role("switch", name="The next 3 messages: 502")
    away = stage.get_by_role("switch", name="Telegram cannot be reached")
    for each in (lost, refused, away):
        await each.click()
    for each in (lost, refused, away):
        await expect(each).to_be_checked()
    with pytest.raises(TelegramNetworkError):
        await bot.send_message(person.id, "Nobody hears it")
    await stage.get_by_role("region", name="The bot's calls").get_by_text("cut").first.wait_for()
    for each in (away, refused):
        await each.click()
    for each in (away, refused):
        await expect(each).not_to_be_checked()
    await expect(lost).to_be_checked()
    await bot.send_message(person.id, "This arrives")
    await paid(client, bot, "Zora", 1)
    await expect(lost).not_to_be_checked()
    await stage.get_by_role("region", name="Updates").get_by_text("lost").first.wait_for()


async def test_undocumented_behaviour_has_a_switch(stage: Page, client: SandboxClient) -> None:
    await stage.get_by_role("switch", name="A refund beyond the bot's balance is refused").click()
    await expect(stage.get_by_role("switch", name="A refund beyond the bot's balance is refused")).to_be_checked()
    assert (await client.switches()).refuse_refund_below_balance


async def test_waiting_updates_are_told_from_confirmed_ones(stage: Page, client: SandboxClient, bot: Bot) -> None:
    await bot.get_updates(offset=-1)
    person = await client.add_person("Zack", started=True)
    await client.send_text(person.id, "first")
    updates = stage.get_by_role("region", name="Updates")
    await updates.get_by_text("waiting", exact=True).first.wait_for()
    (update,) = (await bot.get_updates(offset=-1))[-1:]
    await bot.get_updates(offset=update.update_id + 1)
    await updates.get_by_text("0 waiting").wait_for()
    await expect(updates.get_by_text("waiting", exact=True)).to_have_count(0)


async def test_card_of_ones_own_bot_shows_address_token_and_polling(
    stage: Page, client: SandboxClient, bot: Bot
) -> None:
    own = stage.get_by_role("region", name="Your bot")
    await own.get_by_text("does not poll").wait_for()
    await own.get_by_text(client.url).click()
    await copied(stage, client.url)
    for value in (bot.token, PROVIDER_TOKEN, STRIPE_KEY):
        await own.get_by_text(value).wait_for()
    waiting = await bot.get_updates(offset=-1)
    async with asyncio.TaskGroup() as tasks:
        polling = tasks.create_task(bot.get_updates(offset=waiting[-1].update_id + 1 if waiting else None, timeout=20))
        await own.get_by_text("polls", exact=True).wait_for()
        await client.start((await client.add_person("Yves")).id)
        assert len(await polling) == 1


async def test_updates_and_rows_of_any_shape_are_shown(stage: Page, client: SandboxClient) -> None:
    await client.push_raw({"strange": 5})
    await client.add_rows([{"id": "odd", "date": "never", "source": [], "amount": 5}])
    await stage.get_by_role("region", name="Updates").get_by_text("strange", exact=True).wait_for()
    await stage.get_by_role("region", name="The bot's Stars").get_by_text("no date").wait_for()

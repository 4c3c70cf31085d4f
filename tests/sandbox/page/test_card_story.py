"""A month by Stars and a month by card, by clicks on the page; the card month is given back at Stripe."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from aiogram.client.default import DefaultBotProperties
from aiogram.enums import ParseMode
from playwright.async_api import Page, expect

from db.clock import utc_now
from db.engine import Database
from payments.stripe.api import StripeApi
from payments.stripe.watch import StripeWatch
from sandbox.client import SandboxClient
from sandbox.settings import STRIPE_KEY, TOKEN
from tests.support.bots import talking_bot
from tests.support.browser import Chat
from tests.support.chats import Chats, people_of
from tests.support.money import CATALOG

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOLLOW_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody's pane: what is bought there, and what the bot says last."""

    chat: Chat

    async def order(self) -> None:
        """Ask for the month, and wait for its invoice."""
        await self.chat.say("/buy")
        await self.chat.click(re.compile("^Premium, 30 days"))
        await self.chat.button("Pay 200 ⭐").wait_for()

    async def pay_by_card(self) -> None:
        """Have the invoice by card, and pay it."""
        await self.chat.click("By card: 4.99 USD")
        await self.chat.click("Pay $4.99")
        await self.chat.pane.get_by_role("dialog", name="Pay by card").get_by_role("button", name="Pay $4.99").click()
        await self.last("You paid 4.99 USD for Premium, 30 days")

    async def ask(self, command: str, answer: str) -> None:
        """Send a command, and wait until the last message is an answer with these words."""
        await self.chat.say(command)
        await self.last(answer)

    async def last(self, words: str) -> None:
        """Wait until the bot's last message has these words."""
        await expect(self.chat.pane.locator(".from-other").last).to_contain_text(words)


@asynccontextmanager
async def served(chats: Chats, watch: StripeWatch) -> AsyncIterator[None]:
    """Let the desk do in the background what an update, or a change at Stripe, makes due; an error ends the block."""

    async def serve() -> None:
        last, happened = await chats.client.events()
        while True:
            topics = {event["topic"] for event in happened}
            if "stripe" in topics:
                await watch.read_once()
            if topics & {"stripe", "update"}:
                await chats.settle()
            last, happened = await chats.client.events(after=last, timeout_seconds=FOLLOW_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve())
        yield
        serving.cancel()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(client: SandboxClient, engine_name: str, database_url: str) -> AsyncIterator[tuple[Chats, StripeWatch]]:
    """Give a desk and its people, on each engine."""
    database = Database(database_url)
    stripe = StripeApi(STRIPE_KEY, client.url, session=None)
    html = DefaultBotProperties(parse_mode=ParseMode.HTML)
    async with talking_bot(client.url, TOKEN, html) as bot:
        people = await people_of(client, f" on {engine_name}")
        chats = Chats(client, utc_now, bot, database, CATALOG, people, stripe=stripe)
        yield chats, StripeWatch(database, stripe, utc_now, chats.admins, on_recorded=lambda: None, lost=None)
    await stripe.close()
    await database.dispose()


async def give_back_by_api(_: Page, client: SandboxClient, charge_id: str) -> None:
    """Refund as a seller's own program does."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {STRIPE_KEY}"}) as http,
        http.post(f"{client.url}/v1/refunds", data={"charge": charge_id}) as answer,
    ):
        assert (await answer.json())["status"] == "succeeded"


async def give_back_by_click(page: Page, _: SandboxClient, charge_id: str) -> None:
    """Refund behind the scenes, and come back to the chats."""
    await page.get_by_role("button", name="Behind the scenes").click()
    row = page.get_by_role("region", name="The account at Stripe").locator(".item", has_text=charge_id)
    await row.get_by_role("button", name="Give it all back").click()
    await expect(row.locator(".badge").first).to_have_text("given back")
    await page.get_by_role("button", name="Chats").click()


@pytest.mark.criterion("I4", "I5", "I6", "N4", "N5")
async def test_a_month_by_stars_and_one_by_card_of_which_the_card_month_is_given_back_at_stripe(
    opened: Page, client: SandboxClient, desk: tuple[Chats, StripeWatch]
) -> None:
    chats, watch = desk
    ann = Reader(Chat(opened, chats.people.buyer.first_name))
    admins = Reader(Chat(opened, chats.people.desk.title))
    async with served(chats, watch):
        await ann.order()
        await ann.chat.click("Pay 200 ⭐")
        await ann.chat.click("Confirm and pay 200 Stars")
        await ann.last("You paid 200 ⭐ for Premium, 30 days")
        for give_back in (give_back_by_api, give_back_by_click):
            await ann.order()
            await ann.pay_by_card()
            await ann.ask("/status", "60 days left")
            await ann.ask("/history", "Premium, 30 days, 4.99 USD: done")
            await ann.last("Premium, 30 days, 200 ⭐: done")

            charge = (await client.card_charges(chats.people.buyer.id))[-1]
            await give_back(opened, client, charge.provider_id)
            await ann.last("Your payment of 4.99 USD was given back")
            await admins.last("Given back, but not by this shop: 4.99 USD")
            await admins.last(charge.provider_id)
            await ann.ask("/status", "30 days left")
            await ann.ask("/history", "Refund of 4.99 USD: done")
            await ann.last("Premium, 30 days, 4.99 USD: given back")
            await ann.last("Premium, 30 days, 200 ⭐: done")

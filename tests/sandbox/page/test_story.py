"""The whole story on the demo's page, by clicks: buying, access, a refund; subscriptions, a kill, the clock."""

import re
from contextlib import suppress

import pytest
from playwright.async_api import Page, ViewportSize, expect
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tests.sandbox.page.conftest import SIZES, Shoot
from tests.support.browser import Chat, Program, copied

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED_MAX = 10
TALL = ViewportSize(width=1180, height=720)
"""So high that the ledger, the subscriptions and the update that waits are in one picture."""
ANSWER_MS = 3_000
CHARGE_ID = re.compile(r"^stx\S{20,}$")


async def test_buy_pay_status_history_refund_status(demo: Program, page: Page, device: str, shoot: Shoot) -> None:
    await page.set_viewport_size(SIZES[device])
    await page.goto(demo.address("Open"))
    ann, ben, olga = (Chat(page, name) for name in ("Ann", "Ben", "Olga (admin)"))

    await ann.choose()
    await ann.balance("2,500")
    await ann.click("Start")
    await ann.read("Welcome!")
    await ann.click("Commands")
    await ann.click("/buy What is on sale")
    await ann.click(re.compile("Premium, 30 days"))
    await ann.click(re.compile("^Pay"))
    sheet = ann.pane.get_by_role("dialog", name="Confirm your purchase")
    await expect(sheet).to_contain_text("Premium, 30 days")
    await expect(sheet).to_contain_text("2,500")
    await shoot("pay")
    await ann.click("Confirm and pay 200 Stars")
    await ann.read("You paid")
    await ann.balance("2,300")
    shown = ann.pane.get_by_text(CHARGE_ID).last
    charge_id = await shown.inner_text()
    await shown.click()
    await copied(page, charge_id)

    await ann.say("/status")
    await ann.read("What you have")
    await ann.say("/history")
    await ann.read("Your payments")
    await ann.click("Receipt")
    await ann.pane.get_by_role("dialog", name="Receipt").get_by_text(charge_id).wait_for()
    await ann.click("Close")

    await ben.choose()
    await ben.click("Start")
    await buy_by_card(ben)

    await olga.choose()
    await olga.click("Start")
    await olga.say(f"/refund {charge_id} bought twice")
    await olga.read(re.compile("went back"))
    await ann.choose()
    await ann.read("Refund:")
    await ann.balance("2,500")
    await ann.say("/status")
    await ann.read(re.compile("nothing here now"))
    await shoot("story")

    await page.get_by_role("button", name="Behind the scenes").click()
    await expect(page.get_by_role("region", name="The bot's Stars").locator("summary")).to_have_count(2)
    await page.get_by_role("region", name="The bot's calls").get_by_text("refundStarPayment").wait_for()
    await expect(page.get_by_role("region", name="The account at Stripe").get_by_text("$4.99")).to_have_count(1)
    await shoot("behind")


async def buy_by_card(chat: Chat) -> None:
    """Take 30 days for 4.99 dollars."""
    await chat.say("/buy")
    await chat.click(re.compile("Premium, 30 days"))
    await chat.click("By card: 4.99 USD")
    await chat.click("Pay $4.99")
    await chat.pane.get_by_role("dialog", name="Pay by card").get_by_role("button", name="Pay $4.99").click()
    await chat.read("Thank you!")
    await chat.button("Receipt").wait_for()


async def subscribe(chat: Chat) -> None:
    """Take the subscription of 150 Stars."""
    await chat.click("Start")
    await chat.say("/buy")
    await chat.click(re.compile("Premium, renewed monthly"))
    await chat.click(re.compile("^Subscribe"))
    await chat.read("every 30 days, until you cancel")
    await chat.click("Confirm and pay 150 Stars")
    await chat.read("Thank you!")
    await chat.balance("2,350")


async def ask_until(chat: Chat, command: str, answer: str) -> None:
    """Send a command until the answer comes: the demo's bot looks at the clock twice a second."""
    for _ in range(ASKED_MAX):
        await chat.say(command)
        with suppress(PlaywrightTimeoutError):
            await chat.pane.get_by_text(answer).last.wait_for(timeout=ANSWER_MS)
            return
    await chat.read(answer)


async def test_a_subscription_is_cancelled_and_another_renews_while_the_bot_is_dead(
    demo: Program, page: Page, shoot: Shoot
) -> None:
    await page.goto(demo.address("Open"))
    ann, ben = Chat(page, "Ann"), Chat(page, "Ben")
    chats, behind = (page.get_by_role("button", name=name) for name in ("Chats", "Behind the scenes"))
    await subscribe(ann)
    await subscribe(ben)
    await ann.say("/status")
    await ann.click("Cancel Premium, renewed monthly")
    await ann.click("Yes, cancel it")
    await ann.read(re.compile("is cancelled: no more Stars are taken"))

    await behind.click()
    await page.get_by_role("button", name="Kill (SIGKILL)").click()
    await page.get_by_text("bot stopped").wait_for()
    await page.get_by_role("button", name="+30 days").click()
    await page.get_by_text("clock +30 d", exact=True).wait_for()
    subscriptions = page.get_by_role("region", name="Subscriptions")
    await subscriptions.get_by_text("ended", exact=True).wait_for()
    await subscriptions.get_by_text("active", exact=True).wait_for()
    await page.get_by_role("region", name="Updates").get_by_text("1 waiting").wait_for()
    await page.set_viewport_size(TALL)
    await shoot("kill")
    await page.get_by_role("button", name="Start the bot").click()
    await page.get_by_text("bot stopped").wait_for(state="hidden")

    await chats.click()
    await ben.balance("2,200")
    await ben.read(re.compile("is renewed"))
    await expect(ben.pane.get_by_text("You paid", exact=True)).to_have_count(2)
    await behind.click()
    await page.get_by_role("button", name="+1 day").click()
    await page.get_by_text("clock +31 d", exact=True).wait_for()
    await chats.click()
    await ask_until(ann, "/status", "nothing here")
    await ann.balance("2,350")
    # With the page still open in a browser, too.
    demo.stop()

"""A person's chat on the page; the test is the bot."""

import base64
import re

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.types import (
    BotCommand,
    BufferedInputFile,
    CallbackQuery,
    CopyTextButton,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LabeledPrice,
    PreCheckoutQuery,
    Update,
)
from playwright.async_api import Page, expect

from sandbox.client import SandboxClient
from sandbox.page.elements import day
from sandbox.people import Person
from sandbox.settings import PROVIDER_TOKEN
from tests.support.browser import Chat, copied

pytestmark = pytest.mark.asyncio(loop_scope="session")

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MARKUP = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)> `${1+1}` &lt;b&gt; <b>x</b>"


async def chat_of(page: Page, client: SandboxClient, name: str, *, balance_stars: int = 500) -> tuple[Chat, Person]:
    """Make a person and come to the chat."""
    person = await client.add_person(name, balance_stars=balance_stars, started=True)
    chat = Chat(page, name)
    await chat.choose()
    return chat, person


class Inbox:
    """The bot's updates, each taken once."""

    def __init__(self, bot: Bot, offset: int | None) -> None:
        self._bot = bot
        self._offset = offset

    async def callback(self) -> CallbackQuery:
        """Wait for a pressed button."""
        while (found := (await self._next()).callback_query) is None:
            pass
        return found

    async def pre_checkout(self) -> PreCheckoutQuery:
        """Wait for somebody who pays."""
        while (found := (await self._next()).pre_checkout_query) is None:
            pass
        return found

    async def _next(self) -> Update:
        (update,) = await self._bot.get_updates(offset=self._offset, limit=1, timeout=20)
        self._offset = update.update_id + 1
        return update


@pytest_asyncio.fixture(loop_scope="session")
async def inbox(bot: Bot) -> Inbox:
    """Give the updates from now on."""
    old = await bot.get_updates(offset=-1)
    return Inbox(bot, old[-1].update_id + 1 if old else None)


def keyboard(*buttons: InlineKeyboardButton) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[button] for button in buttons])


async def send_invoice(bot: Bot, person: Person, stars: int = 200) -> None:
    await bot.send_invoice(
        person.id,
        title="A book",
        description="Chapters 1 to 9",
        payload="book",
        currency="XTR",
        prices=[LabeledPrice(label="A book", amount=stars)],
        start_parameter="book",
    )


async def send_card_invoice(bot: Bot, person: Person, start_parameter: str | None) -> None:
    await bot.send_invoice(
        person.id,
        title="Pro",
        description="All of it",
        payload="order-1",
        currency="USD",
        prices=[LabeledPrice(label="Pro", amount=499)],
        provider_token=PROVIDER_TOKEN,
        start_parameter=start_parameter,
    )


async def test_text_of_people_and_bots_never_becomes_markup(opened: Page, client: SandboxClient, bot: Bot) -> None:
    title = await opened.title()
    chat, person = await chat_of(opened, client, "Mallory")
    await client.rename(person.id, MARKUP, username="mallory")
    chat = Chat(opened, MARKUP)
    await chat.say(MARKUP)
    await bot.send_message(
        person.id, MARKUP, reply_markup=keyboard(InlineKeyboardButton(text=MARKUP, callback_data="x"))
    )
    await bot.send_document(person.id, BufferedInputFile(b"x", "<img src=x onerror=alert(1)>.csv"))
    await chat.pane.get_by_role("button", name=MARKUP).wait_for()
    await expect(chat.pane.locator(".text", has_text=MARKUP)).to_have_count(2)
    await chat.pane.locator(".document-name").wait_for()
    # A page that is loaded with all of it in place must not run it either, nor the cards behind the scenes.
    await opened.reload()
    await chat.pane.get_by_role("button", name=MARKUP).wait_for()
    await opened.get_by_role("button", name="Behind the scenes").click()
    await opened.get_by_role("region", name="Updates").locator("summary").first.click()
    await opened.get_by_role("region", name="Updates").get_by_text("mallory").first.wait_for()
    assert await opened.title() == title
    assert await opened.locator(".page img, .page script").count() == 0


async def test_entities_are_shown_and_links_run_no_script(opened: Page, client: SandboxClient, bot: Bot) -> None:
    chat, person = await chat_of(opened, client, "Nora")
    await bot.send_message(
        person.id, "<b>bold</b> <code>c0de</code> <a href='https://example.com/a'>there</a> /help", parse_mode="HTML"
    )
    await expect(chat.pane.locator(".is-bold")).to_have_text("bold")
    await expect(chat.pane.get_by_role("link", name="there")).to_have_attribute("href", "https://example.com/a")
    await chat.pane.get_by_text("c0de").click()
    await copied(opened, "c0de")
    await chat.pane.get_by_text("/help", exact=True).click()
    await client.wait_for(person.id, lambda found: not found.by_bot and found.text() == "/help")


async def test_a_button_waits_for_the_bot_and_shows_its_answer(
    opened: Page, client: SandboxClient, bot: Bot, inbox: Inbox
) -> None:
    chat, person = await chat_of(opened, client, "Olaf")
    await bot.send_message(
        person.id,
        "Choose",
        reply_markup=keyboard(
            InlineKeyboardButton(text="One", callback_data="one"),
            InlineKeyboardButton(text="Copy it", copy_text=CopyTextButton(text="c-1")),
            InlineKeyboardButton(text="To the bot", url="https://t.me/sandbox_bot?start=buy_one"),
        ),
    )
    await chat.click("One")
    await expect(chat.button("One")).to_have_class(re.compile("waits"))
    await (await inbox.callback()).answer("Only a hint").as_(bot)
    await chat.pane.get_by_role("status").get_by_text("Only a hint").wait_for()
    await chat.click("One")
    await (await inbox.callback()).answer("Read this", show_alert=True).as_(bot)
    await chat.pane.get_by_role("alertdialog").get_by_text("Read this").wait_for()
    await chat.click("OK")
    await expect(chat.pane.get_by_role("alertdialog")).to_have_count(0)
    await chat.click("Copy it")
    await chat.read("Copied to clipboard")
    await copied(opened, "c-1")
    await chat.click("To the bot")
    await client.wait_for(person.id, lambda found: found.text() == "/start buy_one")


async def test_an_edited_message_changes_and_a_deleted_one_goes(opened: Page, client: SandboxClient, bot: Bot) -> None:
    chat, person = await chat_of(opened, client, "Paula")
    first = await bot.send_message(person.id, "Before")
    second = await bot.send_message(person.id, "Goes away")
    await chat.read("Goes away")
    await bot.edit_message_text("After", chat_id=person.id, message_id=first.message_id)
    await bot.delete_message(person.id, second.message_id)
    await chat.read("After")
    await chat.read(re.compile("edited"))
    await expect(chat.pane.get_by_text("Goes away")).to_have_count(0)
    await expect(chat.pane.get_by_text("Before")).to_have_count(0)


async def test_chat_scrolls_down_for_the_writer_only(opened: Page, client: SandboxClient, bot: Bot) -> None:
    chat, person = await chat_of(opened, client, "Petra")
    for number in range(30):
        await bot.send_message(person.id, f"Line {number}")
    await chat.pane.get_by_text("Line 0", exact=True).scroll_into_view_if_needed()
    await bot.send_message(person.id, "News")
    await chat.read("News")
    await expect(chat.pane.get_by_text("News")).not_to_be_in_viewport()
    await chat.say("Hello")
    await expect(chat.pane.get_by_text("Hello")).to_be_in_viewport()


async def test_files_are_shown_and_saved(opened: Page, client: SandboxClient, bot: Bot) -> None:
    chat, person = await chat_of(opened, client, "Quentin")
    page_url = "<html><script>document.title='broken'</script>"
    await bot.send_document(person.id, BufferedInputFile(page_url.encode(), "report.html"), caption="The report")
    await bot.send_photo(person.id, BufferedInputFile(PNG, "chart.png"), caption="The chart")
    await chat.read("The chart")
    picture = chat.pane.locator("img")
    await expect(picture).to_have_js_property("naturalWidth", 1)
    link = chat.pane.get_by_role("link", name="report.html")
    async with opened.expect_download() as download:
        await link.click()
    assert (await (await download.value).path()).read_text() == page_url
    # Opened in a tab of its own, it would otherwise be a page on the sandbox's own address.
    answer = await opened.request.get(str(await link.evaluate("link => link.href")))
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_refusal_is_in_the_bots_own_words(opened: Page, client: SandboxClient, bot: Bot, inbox: Inbox) -> None:
    chat, person = await chat_of(opened, client, "Rosa")
    await send_invoice(bot, person)
    await chat.click(re.compile("^Pay"))
    await chat.click("Confirm and pay 200 Stars")
    await chat.read("Asking the bot…")
    await (await inbox.pre_checkout()).answer(ok=False, error_message="Sold out since noon").as_(bot)
    await chat.read("Sold out since noon")
    await chat.read("Nothing was charged.")
    await chat.click("OK")
    await chat.balance("500")


async def test_a_bot_that_does_not_answer_times_out(opened: Page, client: SandboxClient, bot: Bot) -> None:
    chat, person = await chat_of(opened, client, "Sven")
    await send_invoice(bot, person)
    await chat.click(re.compile("^Pay"))
    await chat.click("Confirm and pay 200 Stars")
    await chat.read("Asking the bot…")
    await client.move_clock(10)
    await chat.read("Timed out")
    await chat.balance("500")


async def test_too_few_stars_can_be_topped_up(opened: Page, client: SandboxClient, bot: Bot, inbox: Inbox) -> None:
    chat, person = await chat_of(opened, client, "Tina", balance_stars=50)
    await send_invoice(bot, person)
    await chat.click(re.compile("^Pay"))
    await chat.read("You need 150 more Stars.")
    await chat.click("Get more Stars")
    await chat.click("Confirm and pay 200 Stars")
    await (await inbox.pre_checkout()).answer(ok=True).as_(bot)
    await chat.read("You paid")
    await chat.balance("850")
    await chat.click("Receipt")
    await chat.pane.get_by_role("dialog", name="Receipt").get_by_text(re.compile("^stx")).wait_for()


async def test_a_subscription_is_bought_by_its_link(
    opened: Page, client: SandboxClient, bot: Bot, inbox: Inbox
) -> None:
    chat, person = await chat_of(opened, client, "Uma")
    link = await bot.create_invoice_link(
        title="The club",
        description="Renewed monthly",
        payload="club",
        currency="XTR",
        prices=[LabeledPrice(label="The club", amount=150)],
        subscription_period=2_592_000,
    )
    await bot.send_message(person.id, "Join", reply_markup=keyboard(InlineKeyboardButton(text="Join", url=link)))
    await chat.click("Join")
    await chat.read("every 30 days, until you cancel")
    await chat.click("Confirm and pay 150 Stars")
    await (await inbox.pre_checkout()).answer(ok=True).as_(bot)
    await chat.balance("350")
    await chat.pane.get_by_title("My Stars and subscriptions").click()
    mine = chat.pane.get_by_role("dialog", name="My Stars")
    await expect(mine).to_contain_text("The club")
    await mine.get_by_role("button", name="Cancel subscription").click()
    await mine.get_by_role("button", name="Take up again").click()
    await mine.get_by_text("Renews on").wait_for()
    await mine.get_by_role("button", name="Close").click()
    subscriptions = opened.get_by_role("region", name="Subscriptions")
    await opened.get_by_role("button", name="Behind the scenes").click()
    await subscriptions.get_by_role("button", name="Cancel").click()
    await subscriptions.get_by_role("button", name="Take up again").click()
    await subscriptions.get_by_role("button", name="Renew now").click()
    await opened.get_by_role("button", name="Chats").click()
    await chat.balance("200")


async def test_commands_are_suggested_as_the_bot_registered_them(opened: Page, client: SandboxClient, bot: Bot) -> None:
    chat, person = await chat_of(opened, client, "Vera")
    await bot.set_my_commands(
        [BotCommand(command="buy", description="The plans"), BotCommand(command="refund", description="Give back")]
    )
    await chat.pane.get_by_label("Message", exact=True).press_sequentially("/re")
    await expect(chat.pane.locator(".suggestion")).to_have_count(1)
    await chat.click("Write /refund with more behind it")
    await expect(chat.pane.get_by_label("Message", exact=True)).to_have_value("/refund ")
    await chat.pane.get_by_label("Message", exact=True).press_sequentially("x y")
    await chat.click("Send")
    await client.wait_for(person.id, lambda found: found.text() == "/refund x y")


async def test_text_typed_while_the_page_answers_is_kept(opened: Page, client: SandboxClient) -> None:
    chat, person = await chat_of(opened, client, "Viktor")
    lines = [f"/line{number}" for number in range(20)]
    for line in lines:
        await chat.say(line)
    await client.wait_for(person.id, lambda found: found.text() == lines[-1])
    assert [found.text() for found in await client.chat(person.id)] == lines
    await expect(chat.pane.get_by_label("Message", exact=True)).to_have_value("")


async def test_a_blocked_bot_is_taken_back_by_its_button(opened: Page, client: SandboxClient) -> None:
    chat, person = await chat_of(opened, client, "Willi")
    await chat.click("More")
    await opened.get_by_text("Block the bot").click()
    await chat.click("Restart bot")
    await client.wait_for(person.id, lambda found: found.text() == "/start")
    await chat.pane.get_by_label("Message", exact=True).wait_for()


async def test_a_new_person_comes_by_the_page(opened: Page, client: SandboxClient) -> None:
    await opened.get_by_role("button", name="Add a person or a group").click()
    await opened.get_by_text("A new person").click()
    await opened.get_by_role("textbox", name="Name").fill("Xenia")
    await opened.get_by_role("spinbutton", name="Stars").fill("77")
    await opened.get_by_role("button", name="Add", exact=True).click()
    chat = Chat(opened, "Xenia")
    await chat.balance("77")
    await chat.click("Start")
    xenia = next(person for person in await client.persons() if person.first_name == "Xenia")
    await client.wait_for(xenia.id, lambda found: found.text() == "/start")


async def test_an_invoice_by_card_is_declined_then_paid(
    opened: Page, client: SandboxClient, bot: Bot, inbox: Inbox
) -> None:
    chat, person = await chat_of(opened, client, "Cora")
    await send_card_invoice(bot, person, start_parameter="buy_pro")
    for number, seen in (("4000 0000 0000 0002", "Your card was declined."), ("4242 4242 4242 4242", "You paid")):
        await chat.click("Pay $4.99")
        sheet = chat.pane.get_by_role("dialog", name="Pay by card")
        await sheet.get_by_label("Card number").fill(number)
        await sheet.get_by_role("button", name="Pay $4.99").click()
        query = await inbox.pre_checkout()
        assert (query.currency, query.total_amount) == ("USD", 499)
        await bot.answer_pre_checkout_query(query.id, ok=True)
        await chat.read(seen)
        if seen != "You paid":
            await chat.click("OK")
    await expect(chat.pane.locator(".service").last).to_contain_text("$4.99")
    [charge] = await client.card_charges(person.id)
    await expect(chat.button("Pay $4.99")).to_have_count(0)
    await chat.click(re.compile("^Receipt"))
    receipt = chat.pane.get_by_role("dialog", name="Receipt")
    for shown in ("Pro", "$4.99", "Card •••• 4242", re.compile(f"^Paid {day(charge.charged_at)}, ")):
        await receipt.get_by_text(shown, exact=True).wait_for()
    await receipt.get_by_text(charge.provider_id).click()
    await copied(opened, charge.provider_id)


async def test_an_invoice_by_card_that_anybody_may_pay_keeps_its_button(
    opened: Page, client: SandboxClient, bot: Bot, inbox: Inbox
) -> None:
    chat, person = await chat_of(opened, client, "Dora")
    await send_card_invoice(bot, person, start_parameter=None)
    await chat.click("Pay $4.99")
    await chat.pane.get_by_role("dialog", name="Pay by card").get_by_role("button", name="Pay $4.99").click()
    await (await inbox.pre_checkout()).answer(ok=True).as_(bot)
    await chat.read("You paid")
    await chat.button("Pay $4.99").wait_for()
    await chat.pane.locator(".service").last.click()
    await chat.pane.get_by_role("dialog", name="Receipt").get_by_text("$4.99").wait_for()

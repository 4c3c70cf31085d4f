import pytest
from sqlalchemy import text

from db.engine import Database
from payments.sale.catalog_file import parse_catalog
from sandbox.checkout import PaymentState
from sandbox.messages import ChatMessage
from tests.support.chats import Chats, running_chats
from tests.support.subscribers import Subscriber

INVOICE = {
    "title": "Premium, 30 days",
    "description": "Everything, for 30 days",
    "start_parameter": "buy_month",
    "currency": "XTR",
    "total_amount": 200,
}


def _offered(message: ChatMessage) -> list[str]:
    return [button["callback_data"] for button in message.buttons()]


@pytest.mark.criterion("L1")
async def test_buy_shows_a_button_for_each_plan_which_sends_its_invoice(chats: Chats) -> None:
    buyer = chats.people.buyer
    shown = await chats.answer(buyer, "/buy")
    assert shown.text() == "What would you like? Press a button, and its invoice comes."
    assert _offered(shown) == ["month", "bundle", "life", "auto"], "retired plans are left out"
    assert [button["text"] for button in shown.buttons()] == [
        "Premium, 30 days · 200 ⭐",
        "Premium and archive · 300 ⭐",
        "Premium for life · 1,000 ⭐",
        "Premium, renewed monthly · 150 ⭐",
    ]
    press = await chats.press(buyer, shown, text="Premium, 30 days · 200 ⭐")
    assert (press.text, press.show_alert) == ("", False)
    [invoice] = await chats.said(buyer.id, after=shown.message_id)
    assert invoice.message["invoice"] == INVOICE


@pytest.mark.criterion("L1")
async def test_buy_with_a_code_sends_the_invoice_at_once(chats: Chats) -> None:
    for said in ("/buy month", "/start buy_month", "/BUY  MONTH ", "/buy@sandbox_bot month"):
        invoice = await chats.answer(chats.people.buyer, said)
        assert invoice.message["invoice"] == INVOICE


async def test_buy_of_what_is_not_on_sale_shows_what_is(chats: Chats) -> None:
    for said in (
        "/buy nothing_such",
        "/buy old",
        "/start buy_",
        "/buy <b>month",
        "/buy month month",
        f"/buy {'x' * 4000}",
    ):
        shown = await chats.answer(chats.people.buyer, said)
        assert shown.text() == "That is not on sale. This is:"
        assert _offered(shown) == ["month", "bundle", "life", "auto"]


async def test_a_button_of_what_is_no_longer_sold_says_so(chats: Chats) -> None:
    for data in ("nothing_such", "old"):
        shown = await chats.answer(chats.people.buyer, "/buy")
        press = await chats.press_altered(chats.people.buyer, shown, data)
        assert (press.text, press.show_alert) == ("This is no longer on sale. Send /buy to see what is.", True)
        assert await chats.said(chats.people.buyer.id, after=shown.message_id) == []


async def test_an_altered_button_is_answered_by_an_alert(chats: Chats) -> None:
    for data in ("buy:month", "month\n", "MONTH", "<b>", "x" * 64, ":", "history:::", "💥"):
        shown = await chats.answer(chats.people.buyer, "/buy")
        press = await chats.press_altered(chats.people.buyer, shown, data)
        assert (press.text, press.show_alert) == ("This button is out of date. Send the command again.", True)
        assert await chats.said(chats.people.buyer.id, after=shown.message_id) == []


async def test_lifetime_owner_gets_no_invoice(chats: Chats) -> None:
    buyer = chats.people.buyer
    shown = await chats.answer(buyer, "/buy")
    await chats.buy(buyer, "life")
    told = await chats.answer(buyer, "/buy month")
    assert told.text() == "What this opens is yours for ever already, so there is nothing to pay: /status"
    press = await chats.press(buyer, shown, text="Premium, 30 days · 200 ⭐")
    assert (press.text, press.show_alert) == ("This is yours for ever already, so there is nothing to pay.", True)
    bundle = await chats.answer(buyer, "/buy bundle")
    assert "invoice" in bundle.message, "the archive in it is not held yet"


async def test_a_forwarded_invoice_opens_the_bot_for_an_invoice_of_ones_own(chats: Chats) -> None:
    invoice = await chats.answer(chats.people.buyer, "/buy month")
    forwarded = await chats.client.forward_invoice(invoice.chat_id, invoice.message_id)
    assert forwarded.offer_id is None
    assert forwarded.url is not None
    own = await chats.answer(chats.people.other, f"/start {forwarded.url.partition('?start=')[2]}")
    assert (await chats.pay(chats.people.other, own)).state is PaymentState.PAID


@pytest.mark.criterion("L1", "N3")
async def test_a_subscription_is_offered_by_a_link_for_this_buyer(chats: Chats) -> None:
    buyer = chats.people.buyer
    offered = await chats.answer(buyer, "/buy auto")
    assert offered.text() == (
        "Premium, renewed monthly\nRenews every 30 days\n\n"
        "150 ⭐ every 30 days. Telegram takes them by itself until you cancel, which you can do at any time: /status"
    )
    [button] = offered.buttons()
    assert button["text"] == "Subscribe · 150 ⭐"
    offer = await chats.client.offer(button["url"])
    assert (offer.invoice.title, offer.invoice.total_amount) == ("Premium, renewed monthly", 150)
    assert offer.invoice.subscription_period_seconds == 2_592_000
    order = chats.signer.read(offer.invoice.payload).order
    assert order is not None
    assert (order.plan, order.subscription, order.days, order.buyer_telegram_id) == ("auto", True, None, buyer.id)
    shown = await chats.answer(buyer, "/buy")
    press = await chats.press(buyer, shown, text="Premium, renewed monthly · 150 ⭐")
    assert (press.text, press.show_alert) == ("", False)
    [again] = await chats.said(buyer.id, after=shown.message_id)
    assert again.buttons()[0]["url"] != button["url"], "each link has a payload of its own"


async def test_a_subscription_under_a_running_one_is_not_offered(chats: Chats) -> None:
    subscriber = Subscriber(chats, chats.people.buyer)
    shown = await chats.answer(chats.people.buyer, "/buy")
    await subscriber.subscribe()
    press = await chats.press(chats.people.buyer, shown, text="Premium, renewed monthly · 150 ⭐")
    assert press.show_alert
    assert press.text == "A subscription of yours opens this already. Send /status to see it."


async def test_an_empty_shop_says_so(sqlite_database: Database) -> None:
    catalog = parse_catalog(
        '[plans.old]\ntitle = "T"\ndescription = "D"\nstars = 1\nretired = true', "the test's catalog"
    )
    async with running_chats(sqlite_database, catalog) as chats:
        for said in ("/buy", "/buy old"):
            told = await chats.answer(chats.people.buyer, said)
            assert told.text() == "Nothing is on sale right now. What you have bought stays yours: /status"


async def test_while_the_database_is_away_the_catalog_alone_decides(chats: Chats) -> None:
    buyer = chats.people.buyer
    async with chats.database.transaction() as session:
        await session.execute(text("ALTER TABLE users RENAME TO away"))
    invoice = await chats.answer(buyer, "/buy month")
    assert invoice.message["invoice"] == INVOICE
    assert (await chats.answer(buyer, "/buy auto")).buttons()[0]["text"] == "Subscribe · 150 ⭐"
    async with chats.database.transaction() as session:
        await session.execute(text("ALTER TABLE away RENAME TO users"))
    assert (await chats.pay(buyer, invoice)).state is PaymentState.PAID


@pytest.mark.engines("postgresql")
async def test_a_database_that_hangs_keeps_no_buyer_waiting_for_an_invoice(
    chats: Chats,
) -> None:
    storefront = chats._dispatcher["storefront"]
    storefront._look_seconds = 0.01
    for looks_max in (1, 0):
        storefront._looks_max = looks_max
        async with chats.database.transaction() as session:
            await session.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
            assert (await chats.answer(chats.people.buyer, "/buy month")).message["invoice"] == INVOICE

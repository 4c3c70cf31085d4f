"""CURRENCY_TOTAL_AMOUNT_INVALID and its kind: an invoice that Telegram refuses."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from aiogram.methods import CreateInvoiceLink, SendInvoice, SendMessage

from db.engine import Database
from payments.stripe.api import StripeApi
from sandbox.server import running_sandbox
from sandbox.settings import STRIPE_KEY, Settings
from tests.cases.telegram.front import error, fronting
from tests.support.chats import Chats, running_chats
from tests.support.daemon import TOKEN, running_daemon
from tests.support.refusals import refuse

PLAN: Final = """
[plans.day]
title = "A day"
description = "One day"
entitlement = "premium"
stars = 20
days = 1
prices = { USD = 50 }
"""
TOO_LITTLE: Final = "CURRENCY_TOTAL_AMOUNT_INVALID"


def _if_by_card(_: str, body: bytes) -> tuple[int, Any] | None:
    is_by_card = b"currency=USD" in body or b'name="currency"\r\n\r\nUSD' in body
    return error(400, f"Bad Request: {TOO_LITTLE}") if is_by_card else None


async def test_slow_the_seller_hears_of_it(tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "catalog.toml").write_text(PLAN)
    async with running_sandbox(Settings(token=TOKEN)) as server, fronting(server.url) as front:
        client = server.client
        await client.add_person("Max", id=7009, started=True)
        ann = await client.add_person("Ann", id=7001, balance_stars=5000, started=True)
        front.rules["sendinvoice"] = _if_by_card
        with running_daemon(
            tmp_path,
            front.url,
            sqlite_url,
            PAYMENT_TOKEN="284685063:TEST:SandboxSandboxSandbox",
            STRIPE_SECRET_KEY="sk_test_51SandboxSandboxSandbox",
            STRIPE_API_URL=server.url,
            CATALOG_FILE=str(tmp_path / "catalog.toml"),
            ADMIN_IDS="7009",
        ) as daemon:
            await client.wait_until_polling()
            await client.send_text(ann.id, "/buy day")
            offer = await client.wait_for(ann.id, lambda each: "invoice" in each.message)
            await client.press(ann.id, offer.message_id, data=offer.buttons()[1]["callback_data"])
            told = await client.wait_for(
                ann.id, lambda each: each.by_bot and "invoice" not in each.message, after_message_id=offer.message_id
            )
            heard = await client.wait_for(7009, lambda each: each.by_bot)
            await daemon.stop()
    assert told.text().startswith("A day cannot be paid in this way at the moment (0.50 USD).")
    assert [button["text"] for button in told.buttons()] == ["A day · 20 ⭐"]
    assert heard.text().startswith("⚠️ Telegram refuses an invoice: A day (day), 0.50 USD")
    assert TOO_LITTLE in heard.text()


@pytest_asyncio.fixture
async def with_cards(sqlite_database: Database) -> AsyncIterator[Chats]:
    # Nobody pays, so Stripe is not called.
    api = StripeApi(STRIPE_KEY, "http://127.0.0.1:9", session=None)
    async with running_chats(sqlite_database, stripe=api) as chats:
        yield chats
    await api.close()


async def _told_to_admins(chats: Chats) -> list[str]:
    await chats.settle()
    return [each.text() for each in await chats.said(chats.people.desk.id)]


@pytest.mark.parametrize("why", [TOO_LITTLE, "PAYMENT_PROVIDER_INVALID", "STARS_INVOICE_INVALID"])
async def test_an_invoice_in_stars_that_is_refused_is_told_once_a_day(chats: Chats, why: str) -> None:
    refuse(chats.bot, SendInvoice, why)
    for _ in range(2):
        told = await chats.answer(chats.people.buyer, "/buy month")
        assert told.text().startswith("Premium, 30 days cannot be bought at the moment.")
        assert told.buttons() == []
    [alert] = await _told_to_admins(chats)
    assert why in alert
    await chats.answer(chats.people.buyer, "/buy life")
    assert len(await _told_to_admins(chats)) == 2, "another plan is another alert"
    await chats.client.move_clock(timedelta(days=1).total_seconds())
    await chats.answer(chats.people.buyer, "/buy month")
    assert len(await _told_to_admins(chats)) == 3


async def test_a_subscription_that_telegram_refuses_is_told(chats: Chats) -> None:
    refuse(chats.bot, CreateInvoiceLink, "SUBSCRIPTION_AMOUNT_INVALID")
    told = await chats.answer(chats.people.buyer, "/buy auto")
    assert told.text().startswith("Premium, renewed monthly cannot be bought at the moment.")
    [alert] = await _told_to_admins(chats)
    assert "SUBSCRIPTION_AMOUNT_INVALID" in alert


async def test_refusal_about_the_chat_is_not_told_as_a_refused_invoice(chats: Chats) -> None:
    refuse(chats.bot, SendInvoice, "not enough rights to send invoices to the chat")
    told = await chats.answer(chats.people.buyer, "/buy month")
    assert told.text().startswith("That did not work")
    assert await _told_to_admins(chats) == []
    refuse(chats.bot, SendMessage, "chat not found", chat_id=chats.people.buyer.id)
    assert await chats.say(chats.people.buyer, "/buy auto") == []
    assert await _told_to_admins(chats) == []


async def test_the_ways_that_are_left_are_named_to_the_buyer(with_cards: Chats) -> None:
    chats, buyer = with_cards, with_cards.people.buyer
    refuse(chats.bot, SendInvoice, TOO_LITTLE, currency="USD")
    shown = await chats.answer(buyer, "/buy month")
    await chats.press(buyer, shown, text="By card: 4.99 USD")
    [told] = await chats.said(buyer.id, after=shown.message_id)
    assert [button["text"] for button in told.buttons()] == ["Premium, 30 days · 200 ⭐", "By card: 700 JPY"]
    refuse(chats.bot, SendInvoice, TOO_LITTLE, currency="JPY")
    await chats.press(buyer, told, text="By card: 700 JPY")
    [again] = await chats.said(buyer.id, after=told.message_id)
    assert [button["text"] for button in again.buttons()] == ["Premium, 30 days · 200 ⭐"]
    await chats.press(buyer, again, text="Premium, 30 days · 200 ⭐")
    assert "invoice" in (await chats.said(buyer.id))[-1].message

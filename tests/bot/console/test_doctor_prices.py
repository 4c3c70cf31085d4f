"""`doctor` on prices that Telegram refuses, and on the admins' group that has moved."""

import pytest
from aiogram.methods import CreateInvoiceLink
from sqlalchemy import insert

from bot.console.doctor.prices import look_at_prices
from db.engine import Database
from db.tables import MovedChat
from sandbox.faults import FaultKind
from sandbox.server import running_sandbox
from sandbox.settings import PROVIDER_TOKEN, Settings
from tests.support.bots import talking_bot
from tests.support.clock import START
from tests.support.commands import TOKEN, Commands
from tests.support.money import CATALOG
from tests.support.refusals import refuse


async def test_each_price_that_telegram_refuses_is_told_in_its_words_and_no_other() -> None:
    async with running_sandbox() as server, talking_bot(server.url, server.token) as bot:
        assert [check async for check in look_at_prices(bot, CATALOG, PROVIDER_TOKEN)] == []
        refuse(bot, CreateInvoiceLink, "CURRENCY_TOTAL_AMOUNT_INVALID", currency="JPY")
        found = [check async for check in look_at_prices(bot, CATALOG, PROVIDER_TOKEN)]
        assert found
        assert {check.subject.rpartition(" in ")[2] for check in found} == {"JPY"}
        assert all("CURRENCY_TOTAL_AMOUNT_INVALID" in check.words for check in found)
        # Without cards nothing is asked about them.
        assert [check async for check in look_at_prices(bot, CATALOG, None)] == []
        await server.client.set_switches(price_stars_max=1)
        refused = {check.subject async for check in look_at_prices(bot, CATALOG, None)}
        assert refused == {f"price of {plan.code} in XTR" for plan in CATALOG.on_sale if not plan.subscription}


async def test_a_pause_that_telegram_asks_for_ends_the_look_at_prices() -> None:
    async with running_sandbox() as server, talking_bot(server.url, server.token) as bot:
        await server.client.add_fault(FaultKind.RETRY_AFTER, "createInvoiceLink", retry_after_seconds=7)
        [check] = [check async for check in look_at_prices(bot, CATALOG, None)]
        assert check.words == "Telegram asks for a pause of 7 s"


async def test_the_doctor_looks_at_the_prices_of_the_catalog(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_sandbox(Settings(token=TOKEN)) as server:
        monkeypatch.setenv("TELEGRAM_API_URL", server.url)
        await server.client.set_switches(price_stars_max=1)
        said = await commands.prints("doctor", status=1)
    assert " in XTR: " in said
    assert "is refused by Telegram" in said


async def test_the_doctor_names_the_new_id_of_the_admins_group(
    commands: Commands, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ADMIN_CHAT_ID", "-4000000001")
    async with database.transaction() as session:
        row = {"chat_id": -4_000_000_001, "moved_to": -1_001_000_000_007, "noted_at": START}
        await session.execute(insert(MovedChat), row)
    said = await commands.prints("doctor", status=1)
    assert "mend: put -1001000000007 into ADMIN_CHAT_ID" in said

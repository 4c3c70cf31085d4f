"""`reconcile` and `rebuild` as an operator runs them."""

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import pytest
import stamina
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import select
from typer.testing import CliRunner

from bot.__main__ import app
from bot.console.ledger import UNKNOWN_TO_THE_LEDGER, compare, rebuild
from bot.settings import Settings
from db.clock import utc_now
from db.engine import Database
from db.errors import AnotherDeskError
from db.lock import desk_lock
from db.tables import OutboxMessage, StripeEvent
from payments.ledger import progress
from payments.sale.catalog_file import load_catalog
from payments.sale.payload import Order, PayloadSigner
from sandbox.history import PastPayment
from sandbox.ledger import OtherRow
from sandbox.people import Person
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings as SandboxSettings
from tests.support.daemon import CATALOG, TOKEN

PLAN: Final = load_catalog(CATALOG).on_sale[0]


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with running_sandbox(SandboxSettings(token=TOKEN)) as running:
        yield running


@pytest.fixture
async def buyer(server: SandboxServer) -> Person:
    return await server.client.add_person("Ann", started=True)


@pytest.fixture
def settings(server: SandboxServer, database_url: str) -> Settings:
    return Settings(
        telegram_bot_token=SecretStr(TOKEN),
        telegram_api_url=server.url,
        database_url=SecretStr(database_url),
        catalog_file=CATALOG,
        admin_ids=(42,),
    )


async def _paid(server: SandboxServer, buyer: Person, count: int = 1) -> None:
    """Let payments be in the ledger alone."""
    order = Order(PLAN.code, PLAN.days, PLAN.subscription, PLAN.price_stars, "XTR", buyer.id)
    signed = PayloadSigner(TOKEN).sign(order)
    past = PastPayment(user_id=buyer.id, payload=signed, stars=PLAN.price_stars, at=utc_now() - timedelta(hours=2))
    await server.client.add_past_payments([past] * count)


async def _known_as_new(database: Database) -> None:
    """Let the ledger have been looked at when it was empty."""
    async with database.transaction() as session:
        await progress.lock(session)


def _console() -> tuple[Console, io.StringIO]:
    said = io.StringIO()
    return Console(file=said, width=200, highlight=False, markup=False), said


def _cells(said: io.StringIO) -> dict[str, int]:
    """Read the table of counts."""
    lines = [line for line in said.getvalue().splitlines() if "seen" in line]
    names = [cell.strip() for cell in lines[0].strip("┃│ ").split("┃")]
    row = next(line for line in said.getvalue().splitlines() if line.startswith("│"))
    return dict(zip(names, (int(cell) for cell in row.strip("│ ").split("│")), strict=True))


async def test_reconcile_settles_what_was_missing_and_prints_what_it_has_seen(
    settings: Settings, server: SandboxServer, buyer: Person, database: Database
) -> None:
    await _known_as_new(database)
    await _paid(server, buyer, 2)
    await server.client.add_other(OtherRow.ADS, 3)
    console, said = _console()
    assert await compare(settings, console, from_start=False, is_dry=False)
    assert _cells(said) == {
        "seen": 3,
        "known": 0,
        "recovered": 2,
        "refunded": 0,
        "foreign": 0,
        "other": 1,
        "unexplained": 0,
    }
    assert "other: telegram_ads: 1" in said.getvalue()
    async with database.reading() as session:
        assert set(await session.scalars(select(StripeEvent.outcome))) == {"granted"}


async def test_reconcile_says_what_is_unexplained(settings: Settings, server: SandboxServer) -> None:
    await server.client.add_rows([{"id": "odd", "amount": 1, "date": 1}])
    console, said = _console()
    assert not await compare(settings, console, from_start=False, is_dry=True)
    assert "unexplained: unreadable: " in said.getvalue()
    assert "it has not one of source and receiver" in said.getvalue()


async def test_a_dry_run_writes_nothing(
    settings: Settings, server: SandboxServer, buyer: Person, database: Database
) -> None:
    await _paid(server, buyer)
    console, said = _console()
    assert await compare(settings, console, from_start=True, is_dry=True)
    assert _cells(said)["recovered"] == 1
    async with database.reading() as session:
        assert (await session.scalars(select(StripeEvent.id))).all() == []


async def test_reconcile_waits_for_a_rebuild_that_is_not_complete(settings: Settings, database: Database) -> None:
    async with database.transaction() as session:
        await progress.mark_unfinished(session, utc_now())
    console, said = _console()
    assert not await compare(settings, console, from_start=False, is_dry=False)
    assert said.getvalue().strip() == "A rebuild is not complete, and comes first: start the bot, or run `rebuild`."


async def test_reconcile_tells_nobody_anew_what_a_lost_database_has_forgotten(
    settings: Settings, server: SandboxServer, buyer: Person, database: Database
) -> None:
    await _paid(server, buyer)
    console, said = _console()
    for _ in range(2):
        assert not await compare(settings, console, from_start=False, is_dry=False)
    assert "A rebuild is not complete, and comes first" in said.getvalue()
    async with database.reading() as session:
        assert (await session.scalars(select(StripeEvent.id))).all() == []
    assert await rebuild(settings, console, fill=False, trusts_unsigned=False)
    async with database.reading() as session:
        assert (await session.scalars(select(StripeEvent.outcome))).all() == ["granted"]
        assert (await session.scalars(select(OutboxMessage.id))).all() == []


async def test_rebuild_makes_the_rows_in_silence_and_says_what_it_cannot_know(
    settings: Settings, server: SandboxServer, buyer: Person, database: Database
) -> None:
    await _paid(server, buyer, 3)
    console, said = _console()
    assert await rebuild(settings, console, fill=False, trusts_unsigned=False)
    assert "3 granted" in said.getvalue()
    for what, _ in UNKNOWN_TO_THE_LEDGER:
        assert what in said.getvalue()
    async with database.reading() as session:
        assert (await session.scalars(select(OutboxMessage.id))).all() == []
    assert await server.client.calls("sendMessage") == []


async def test_a_database_with_payments_in_it_is_refused_unless_it_is_to_be_filled(
    settings: Settings, server: SandboxServer, buyer: Person
) -> None:
    await _paid(server, buyer)
    console, said = _console()
    assert await rebuild(settings, console, fill=False, trusts_unsigned=False)
    await _paid(server, buyer)
    assert not await rebuild(settings, console, fill=False, trusts_unsigned=False)
    assert "nothing was done" in said.getvalue()
    console, said = _console()
    assert await rebuild(settings, console, fill=True, trusts_unsigned=True)
    assert (_cells(said)["recovered"], _cells(said)["known"]) == (1, 1)


async def test_a_rebuild_that_broke_off_goes_on_without_being_told_twice(
    settings: Settings, server: SandboxServer, buyer: Person, database: Database
) -> None:
    await _paid(server, buyer)
    console, _ = _console()
    assert await rebuild(settings, console, fill=False, trusts_unsigned=False)
    async with database.transaction() as session:
        await progress.mark_unfinished(session, utc_now())
    assert await rebuild(settings, console, fill=False, trusts_unsigned=False)


async def test_no_rebuild_beside_a_running_desk(settings: Settings, database_url: str) -> None:
    lock = desk_lock(database_url)
    await lock.acquire()
    console, _ = _console()
    with pytest.raises(AnotherDeskError, match="stop it, and run this again"):
        await rebuild(settings, console, fill=False, trusts_unsigned=False)
    await lock.release()


@pytest.mark.parametrize("command", ["reconcile", "rebuild"])
def test_telegram_away_is_a_sentence_and_exit_1(command: str, monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CATALOG_FILE", str(CATALOG))
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    with stamina.set_testing(True):
        result = CliRunner().invoke(app, [command])
    assert result.exit_code == 1
    assert "Telegram does not answer: TelegramNetworkError" in result.stdout
    assert "The rows that were read are kept: run this again." in result.stdout

"""`backup`: a restored copy, and the gap since then filled from Telegram's ledger."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from bot.console import backup
from db.engine import Database
from payments.audit.facts import ChargeFact
from payments.ledger.fetching import TelegramLedger
from payments.ledger.rebuild import WholePass
from payments.loop import Gate
from payments.subscriptions.chain import Terms
from sandbox.history import PastPayment
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from tests.support.bots import talking_bot
from tests.support.commands import Commands
from tests.support.desk import Desk
from tests.support.money import BUYER, CATALOG, SIGNER, TOKEN, charge


async def test_a_restored_backup_is_filled_from_telegrams_ledger(
    commands: Commands, desk: Desk, open_database: Callable[[str], Database], database_url: str
) -> None:
    async with running_sandbox(Settings(token=TOKEN, seed=1)) as server:

        async def pay() -> ChargeFact:
            payload = charge().payload
            past = PastPayment(user_id=BUYER.telegram_id, payload=payload, stars=200, at=desk.clock())
            [charge_id] = await server.client.add_past_payments([past])
            paid = charge(charge_id, payload=payload, at=desk.clock())
            await desk.take(paid)
            desk.clock.advance(hours=1)
            return paid

        await server.client.add_person("Ann", id=BUYER.telegram_id, started=True)
        await pay()
        file = commands.directory / "desk.backup"
        said = await commands.prints("backup", str(file))
        assert said.startswith(f"{file}: ")
        assert file.stat().st_mode & 0o077 == 0, "whoever reads it has every payment"
        lost = await pay()
        ends_at = await desk.expires_at()

        restored = Desk(open_database(str(make_url(database_url).set(database=str(file)))), desk.clock)
        async with restored.database.reading() as session:
            assert not await Gate().is_open(session), "a pass over the ledger comes first"
            assert await session.scalar(text("SELECT count(*) FROM stripe_events")) == 1
        async with talking_bot(server.url, server.token) as bot:
            await WholePass(restored.database, TelegramLedger(bot), CATALOG, SIGNER, desk.clock, Terms()).run()
    assert (await restored.event(lost.event_id)).outcome == "granted"
    assert await restored.expires_at() == ends_at
    async with restored.database.reading() as session:
        assert await Gate().is_open(session)
    async with desk.database.reading() as session:
        assert await Gate().is_open(session), "the desk that was copied goes on as before"


async def test_a_desk_that_writes_meanwhile_is_not_held_up(
    commands: Commands, desk: Desk, open_database: Callable[[str], Database], database_url: str
) -> None:
    await desk.take(charge("c1"))
    async with desk.database.transaction() as session:
        await session.execute(text("UPDATE stripe_events SET attempts = 7"))
        await commands.prints("backup", "desk.backup")
        await session.execute(text("UPDATE stripe_events SET attempts = 8"))
    copy = open_database(str(make_url(database_url).set(database=str(commands.directory / "desk.backup"))))
    async with copy.reading() as session:
        assert await session.scalar(text("SELECT attempts FROM stripe_events")) == 0, "what was committed by then"


async def test_backup_refuses_to_write_over_a_file(commands: Commands) -> None:
    file = commands.directory / "desk.backup"
    file.write_text("somebody's")
    assert "nothing is written over" in await commands.prints("backup", str(file), status=1)
    assert file.read_text() == "somebody's"


async def test_a_backup_that_fails_leaves_nothing(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(backup, "_mark", fail)
    assert await commands.prints("backup", "desk.backup", status=1) == "No backup is made: disk I/O error\n"
    assert {path.name.partition("-")[0] for path in commands.directory.iterdir()} == {"desk.sqlite"}
    said = await commands.prints("backup", str(Path("no") / "such" / "place"), status=1)
    assert "No such file or directory" in said


async def test_backup_of_postgresql_prints_pg_dump_without_the_password(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://desk:hush-hush@db:5433/desk?sslmode=require")
    said = await commands.prints("backup", "/var/backups/desk.dump")
    assert "    pg_dump --format=custom --file=/var/backups/desk.dump postgresql://desk@db:5433/desk\n" in said
    assert "hush-hush" not in said

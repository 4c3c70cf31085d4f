"""`ledger_rows`: every row of Telegram's ledger as it came."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiogram import Bot
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.engine import Database
from db.migrate import _config, migrate
from db.states import Direction
from db.tables import LedgerEntry
from payments.ledger.fetching import TelegramLedger
from payments.ledger.nanostars import NANOSTARS
from payments.ledger.rows import read_row
from sandbox.client import SandboxClient
from sandbox.server import SandboxServer
from tests.payments.ledger.kept_rows import DATE, entries, set_aside, withdrawal
from tests.support.clock import START, FakeClock
from tests.support.desk import Desk
from tests.support.ledger import Books, Row, other_row, row
from tests.support.money import BUYER, SIGNER, charge, refund

pytestmark = pytest.mark.engines("sqlite", "postgresql")

AFFILIATE = 777


def sold_by_an_affiliate(name: str = "charge-1", **more: Any) -> Row:
    affiliate = {"affiliate_user": {"id": AFFILIATE}, "commission_per_mille": 105, "amount": 20, "nanostar_amount": 5}
    said = row(charge(name), affiliate=affiliate) | {"amount": 179, "nanostar_amount": NANOSTARS - 5}
    return said | more


def facts(entry: LedgerEntry) -> tuple[Any, ...]:
    moment = entry.happened_at
    stars = entry.amount_nanostars
    return entry.kind, stars, moment, entry.state, entry.telegram_id, entry.charge_id, entry.commission_nanostars


EVERY_KIND: list[Row] = [
    sold_by_an_affiliate(),
    row(refund(charge(), START)),
    row(charge("gift"), transaction_type="gift_purchase", gift={"id": "1"}),
    withdrawal(),
    other_row(1, kind="telegram_api", date=DATE),
    other_row(2, kind="something_new", date=DATE) | {"nanostar_amount": 5},
    {"id": "earned", "amount": 3, "date": DATE, "source": {"type": "affiliate_program", "sponsor_user": {"id": 42}}},
]


@pytest.mark.criterion("N11")
@pytest.mark.parametrize("way", ["compared", "rebuilt", "rebuilt over a copy"])
async def test_every_row_is_kept_as_it_came(books: Books, telegram: SandboxClient, way: str) -> None:
    books.desk.clock.advance(hours=1)
    await telegram.add_rows(EVERY_KIND)
    if way != "rebuilt":
        await books.compare()
    if way != "compared":
        await books.rebuild()
    commission = 20 * NANOSTARS + 5
    paid = ("invoice_payment", 200 * NANOSTARS - commission, charge().happened_at, None, BUYER.telegram_id, "charge-1")
    back = ("invoice_payment", 200 * NANOSTARS, START, None, BUYER.telegram_id, "charge-1", None)
    found = await entries(books.desk.database)
    assert {key: facts(entry) for key, entry in found.items()} == {
        ("charge-1", Direction.IN): (*paid, commission),
        ("charge-1", Direction.OUT): back,
        ("gift", Direction.IN): (
            *("gift_purchase", 200 * NANOSTARS, charge().happened_at, None, BUYER.telegram_id),
            *(None, None),
        ),
        ("w", Direction.OUT): ("fragment", 1000 * NANOSTARS, START, "pending", None, None, None),
        ("other-1", Direction.OUT): ("telegram_api", 5 * NANOSTARS, START, None, None, None, None),
        ("other-2", Direction.OUT): ("something_new", 5 * NANOSTARS + 5, START, None, None, None, None),
        ("earned", Direction.IN): ("affiliate_program", 3 * NANOSTARS, START, None, 42, None, None),
    }
    assert found["charge-1", Direction.IN].affiliate_id == AFFILIATE
    assert [entry.place for entry in found.values()] == list(range(len(EVERY_KIND)))
    assert await set_aside(books.desk.database) == []


async def test_a_row_that_was_read_before_is_not_written_again(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows(EVERY_KIND)
    await books.compare()
    before = {key: entry.recorded_at for key, entry in (await entries(books.desk.database)).items()}
    books.desk.clock.advance(minutes=1)
    await books.compare()
    await books.compare(from_start=True)
    assert {key: entry.recorded_at for key, entry in (await entries(books.desk.database)).items()} == before


async def test_dry_run_keeps_no_ledger_row(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows(EVERY_KIND)
    await books.compare(is_dry=True)
    assert await entries(books.desk.database) == {}


REWRITTEN = (
    "UPDATE ledger_rows SET amount_nanostars = 1",
    "UPDATE ledger_rows SET direction = 'in'",
    "UPDATE ledger_rows SET id = 'x'",
    "UPDATE ledger_rows SET happened_at = '2020-01-01 00:00:00'",
    "UPDATE ledger_rows SET kind = 'telegram_ads'",
    "UPDATE ledger_rows SET charge_id = NULL WHERE charge_id IS NOT NULL",
    "UPDATE ledger_rows SET commission_nanostars = 7 WHERE charge_id IS NOT NULL",
    "DELETE FROM ledger_rows",
)


async def test_the_database_refuses_to_change_what_telegram_said(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([withdrawal(), sold_by_an_affiliate()])
    await books.compare()
    for change in REWRITTEN:
        with pytest.raises(DBAPIError, match=r"of the ledger are (for ever|written once)"):
            async with books.desk.database.transaction() as session:
                await session.execute(text(change))


async def test_facts_of_a_newer_server_fill_in_a_kept_row(books: Books, server: SandboxServer) -> None:
    bare = row(charge("gift"))
    bare["source"] = {"type": "user"}
    server.world.ledger.rows += [bare]
    await books.compare()
    server.world.ledger.rows[0] = row(charge("gift"), transaction_type="gift_purchase", gift={"id": "1"})
    await books.compare()
    entry = (await entries(books.desk.database))["gift", "in"]
    assert (entry.kind, entry.telegram_id) == ("gift_purchase", BUYER.telegram_id)


async def test_the_rows_of_a_database_that_is_older_than_the_table_are_kept_by_the_next_comparison(
    empty_database_url: str,
    open_database: Callable[[str], Database],
    clock: FakeClock,
    bot: Bot,
    telegram: SandboxClient,
) -> None:
    rows = [row(charge()), *(other_row(number) for number in range(120))]
    await telegram.add_rows(rows)
    database = open_database(empty_database_url)
    async with database.migration() as connection:
        await connection.run_sync(lambda sync: command.upgrade(_config(sync), "0011"))
        reading = "INSERT INTO ledger (id, row_count, latest, compared_at) VALUES (1, 121, :latest, :compared_at)"
        latest = json.dumps([read_row(each, SIGNER).key for each in rows[-50:]])
        await connection.execute(text(reading), {"latest": latest, "compared_at": START.replace(tzinfo=None)})
    await migrate(database, 1)
    books = Books(Desk(database, clock), TelegramLedger(bot))
    assert (await books.stand()).compared_at is None
    report = await books.compare()
    assert (report.counts.seen, report.counts.recovered, report.counts.unexplained) == (121, 1, 0)
    assert len(await entries(database)) == 121
    assert (await books.stand()).nanostars == 200 * NANOSTARS - 600 * NANOSTARS

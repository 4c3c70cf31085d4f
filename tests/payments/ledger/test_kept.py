"""`ledger_rows`: every row of Telegram's ledger as it came."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from aiogram import Bot
from alembic import command
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from db.engine import Database
from db.migrate import _config, migrate
from db.states import Direction
from db.tables import LedgerEntry, QuarantinedUpdate
from payments.audit.facts import ChargeFact
from payments.ledger.fetching import TelegramLedger
from payments.ledger.kept import QUARANTINED_ROWS_MAX
from payments.ledger.nanostars import NANOSTARS
from payments.ledger.reconciliation import REFRESHED_PAGES_MAX
from payments.ledger.rows import read_row
from payments.recording.quarantine import QUARANTINE_PREFIX, quarantine_ledger_row
from payments.waiting import RetryResult, read_backlog, retry
from sandbox.client import SandboxClient
from sandbox.server import SandboxServer
from tests.support.clock import START, FakeClock
from tests.support.desk import Desk
from tests.support.ledger import Books, Row, other_row, row
from tests.support.money import BUYER, SIGNER, charge, refund
from tests.support.obstacles import refusing

pytestmark = pytest.mark.engines("sqlite", "postgresql")

DAY = timedelta(days=1)
DATE = int(START.timestamp())
AFFILIATE = 777


def withdrawal(name: str = "w", *, state: str = "pending", amount: int = 1000) -> Row:
    partner = {"type": "fragment", "withdrawal_state": {"type": state}}
    return {"id": name, "amount": amount, "date": DATE, "receiver": partner}


def sold_by_an_affiliate(name: str = "charge-1", **more: Any) -> Row:
    affiliate = {"affiliate_user": {"id": AFFILIATE}, "commission_per_mille": 105, "amount": 20, "nanostar_amount": 5}
    said = row(charge(name), affiliate=affiliate) | {"amount": 179, "nanostar_amount": NANOSTARS - 5}
    return said | more


async def entries(database: Database) -> dict[tuple[str, str], LedgerEntry]:
    async with database.reading() as session:
        found = await session.scalars(select(LedgerEntry).order_by(LedgerEntry.place))
        return {(each.id, each.direction): each for each in found}


async def set_aside(database: Database) -> Sequence[QuarantinedUpdate]:
    async with database.reading() as session:
        return (await session.scalars(select(QuarantinedUpdate).order_by(QuarantinedUpdate.reason))).all()


def facts(entry: LedgerEntry) -> tuple[Any, ...]:
    moment: datetime = entry.happened_at
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


async def test_nothing_is_kept_by_a_dry_run(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows(EVERY_KIND)
    await books.compare(is_dry=True)
    assert await entries(books.desk.database) == {}


@pytest.mark.parametrize("rows_behind", [0, 49, 150])
async def test_a_withdrawals_state_is_followed_however_long_ago_it_was_read(
    books: Books, server: SandboxServer, rows_behind: int
) -> None:
    rows = server.world.ledger.rows
    rows += [withdrawal(), *(other_row(number) for number in range(rows_behind))]
    await books.compare()
    rows[0] = withdrawal(state="succeeded")
    await books.compare()
    assert (await entries(books.desk.database))["w", "out"].state == "succeeded"


async def test_withdrawals_that_stay_pending_keep_none_of_the_others_waiting(
    books: Books, server: SandboxServer
) -> None:
    rows = server.world.ledger.rows
    pages = REFRESHED_PAGES_MAX + 2
    for number in range(pages):
        rows += [withdrawal(f"w{number}"), *(other_row(1000 * number + each) for each in range(120))]
    await books.compare()
    rows[121 * (pages - 1)] = withdrawal(f"w{pages - 1}", state="failed")
    rows[121 * (pages - 2)] = withdrawal(f"w{pages - 2}", state="succeeded")
    for _ in range(2):
        await books.compare()
    found = await entries(books.desk.database)
    assert [found[f"w{number}", "out"].state for number in range(pages)] == ["pending"] * 3 + ["succeeded", "failed"]


async def test_a_failed_withdrawal_that_came_back_is_a_row_of_its_own(books: Books, server: SandboxServer) -> None:
    server.world.ledger.rows += [withdrawal()]
    await books.compare()
    server.world.ledger.rows[0] = withdrawal(state="failed")
    server.world.ledger.rows += [{"id": "w", "amount": 1000, "date": DATE, "source": {"type": "fragment"}}]
    await books.compare()
    found = await entries(books.desk.database)
    assert {key: entry.state for key, entry in found.items()} == {("w", "out"): "failed", ("w", "in"): None}


ODD: list[Row] = [
    other_row(1) | {"amount": 10**30},
    other_row(2) | {"amount": 2**31},
    other_row(3) | {"amount": -1},
    {key: value for key, value in other_row(4).items() if key != "amount"},
    {key: value for key, value in other_row(5).items() if key != "date"},
    {key: value for key, value in other_row(6).items() if key != "id"},
    other_row(7) | {"date": 10**18},
    other_row(8) | {"id": "a\0b"},
    other_row(9) | {"receiver": None},
    row(charge("nobodys"), user={"first_name": "Ann"}),
    row(charge("odd"), affiliate={"amount": 10**30, "user": {"first_name": "Ann"}}),
]


@pytest.mark.criterion("N11")
@pytest.mark.parametrize("way", ["compared", "rebuilt"])
async def test_rows_with_odd_values_are_kept_raw_at_rest_and_cost_none_of_the_others(
    books: Books, server: SandboxServer, way: str
) -> None:
    books.desk.clock.advance(hours=1)
    server.world.ledger.rows += [other_row(100), *ODD, other_row(101)]
    await (books.compare() if way == "compared" else books.rebuild())
    await books.compare(from_start=True)
    found = await entries(books.desk.database)
    assert {("other-100", "out"), ("other-101", "out")} <= found.keys()
    aside = await set_aside(books.desk.database)
    assert len(aside) == len(ODD)
    assert all(each.resolved_at is not None and "ledger_row" in each.raw and "Ann" not in each.raw for each in aside)
    async with books.desk.database.transaction() as session:
        assert (await read_backlog(session)).quarantined.count == 0
        assert await retry(session, QUARANTINE_PREFIX + aside[0].id, books.desk.clock()) is RetryResult.NOT_WAITING


async def test_another_amount_under_a_known_id_changes_nothing_and_is_kept_beside(
    books: Books, telegram: SandboxClient
) -> None:
    await telegram.add_rows([other_row(1), other_row(2), other_row(1, amount=6)])
    await books.compare()
    await books.compare()
    found = await entries(books.desk.database)
    assert found["other-1", "out"].amount_nanostars == 5 * NANOSTARS
    (aside,) = await set_aside(books.desk.database)
    assert "another amount" in aside.reason


async def test_a_ledger_that_lies_throughout_fills_no_more_than_so_many_rows(
    books: Books, server: SandboxServer
) -> None:
    async with books.desk.database.transaction() as session:
        for number in range(QUARANTINED_ROWS_MAX - 3):
            await quarantine_ledger_row(session, {"id": f"kept before-{number}"}, "a lie", books.desk.clock())
    server.world.ledger.rows += [{"id": f"lie-{number}"} for number in range(150)]
    await books.compare()
    assert len(await set_aside(books.desk.database)) == QUARANTINED_ROWS_MAX


async def test_a_row_that_the_database_refuses_is_kept_raw(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([other_row(1), other_row(2), row(charge())])
    async with refusing(books.desk.database, "INSERT", "ledger_rows", when="NEW.id = 'other-1'"):
        report = await books.compare()
    assert report.counts.recovered == 1
    assert (await entries(books.desk.database)).keys() == {("other-2", "out"), ("charge-1", "in")}
    (aside,) = await set_aside(books.desk.database)
    assert "other-1" in aside.raw


async def test_rows_are_kept_though_an_event_of_their_page_is_refused(books: Books, telegram: SandboxClient) -> None:
    await telegram.add_rows([row(charge("good")), row(charge("bad")), other_row(1)])
    async with refusing(books.desk.database, "INSERT", "stripe_events", when="NEW.event_id = 'bad'"):
        await books.compare()
    assert len(await entries(books.desk.database)) == 3


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


async def test_what_a_newer_server_tells_is_filled_in(books: Books, server: SandboxServer) -> None:
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


SALES = [
    (f"sale-{number}", price, payload, is_gross)
    for number, (price, payload, is_gross) in enumerate(product((200, 1), (None, "another program's"), (True, False)))
]
"""Each id with its price, whose payload it has, and whether the ledger's amount is before the commission."""


def _sale(name: str, price: int, payload: str | None) -> ChargeFact:
    paid = charge(name) if payload is None else charge(name, payload=payload)
    return replace(paid, amount=price)


async def test_a_sale_with_an_affiliate_agrees_by_its_amount_or_with_its_commission(
    books: Books, telegram: SandboxClient
) -> None:
    for name, price, payload, is_gross in SALES:
        paid = _sale(name, price, payload)
        for fact in (paid, refund(paid, START)):
            await books.desk.record(fact)
            said = _with_commission(row(fact), price, is_gross=is_gross)
            if is_gross:
                # Without its share, a commission does not tell which of the two sums was paid: our row does.
                del said["source" if "source" in said else "receiver"]["affiliate"]["commission_per_mille"]
            await telegram.add_rows([said])
    report = await books.compare()
    assert (report.counts.known, report.counts.unexplained) == (2 * len(SALES), 0)
    stand = await books.stand()
    assert stand.event_stars == stand.payment_stars == 0
    found = await entries(books.desk.database)
    assert [(entry.charge_id, entry.commission_nanostars) for entry in found.values()] == [
        (name, price * NANOSTARS // 10) for name, price, *_ in SALES for _ in ("in", "out")
    ]


async def test_a_sale_with_an_affiliate_that_the_ledger_alone_tells_is_recorded_at_its_price(
    books: Books, telegram: SandboxClient
) -> None:
    sales = [each for each in SALES if each[1] == 200]
    for name, price, payload, is_gross in sales:
        paid = _sale(name, price, payload)
        back = row(refund(paid, START))
        del back["receiver"]["invoice_payload"]
        await telegram.add_rows([_with_commission(said, price, is_gross=is_gross) for said in (row(paid), back)])
    await books.compare()
    for name, price, payload, _ in sales:
        assert (await books.desk.event(name)).amount_cents == 200
        assert (await books.desk.event(f"refund:{name}")).amount_cents == 200
        await books.desk.record(_sale(name, price, payload))
    assert (await books.compare(from_start=True)).counts.unexplained == 0


async def test_less_than_the_price_is_told_whoever_brought_the_buyer(books: Books, telegram: SandboxClient) -> None:
    await books.desk.record(charge())
    await telegram.add_rows([_with_commission(row(charge()), 100, is_gross=False)])
    (found,) = (await books.compare()).counts.findings
    assert (found.finding, found.here, found.there) == ("amount_differs", 200, 100)


def _with_commission(said: Row, price: int, *, is_gross: bool) -> Row:
    """Return a row of a sale of which a tenth went to an affiliate, or came back from one."""
    sign = 1 if "source" in said else -1
    whole, rest = divmod(price * NANOSTARS // 10, NANOSTARS)
    amount, nanostars = divmod(price * NANOSTARS - (0 if is_gross else price * NANOSTARS // 10), NANOSTARS)
    affiliate = {"commission_per_mille": 100, "amount": sign * whole, "nanostar_amount": sign * rest}
    partner = {
        "source" if sign > 0 else "receiver": said["source" if sign > 0 else "receiver"] | {"affiliate": affiliate}
    }
    return said | {"amount": amount, "nanostar_amount": nanostars} | partner


NO_TYPES: dict[str, Any] = {"null": None, "number": 7, "empty": "", "new": "paid_for_something_new"}


async def test_a_payment_without_a_known_type_is_recovered_by_its_payload(
    books: Books, telegram: SandboxClient
) -> None:
    for name in ("left-out", *NO_TYPES):
        paid, back = row(charge(name)), row(refund(charge(name), START + DAY))
        for partner in (paid["source"], back["receiver"]):
            del partner["transaction_type"]
            partner.update({"transaction_type": NO_TYPES[name]} if name in NO_TYPES else {})
        await telegram.add_rows([paid])
        assert (await books.compare()).counts.recovered == 1
        await books.desk.settle(name)
        assert await books.desk.holds()
        await telegram.add_rows([back])
        assert (await books.compare()).counts.refunded == 1
        await books.desk.settle(f"refund:{name}")
        assert not await books.desk.holds()
    found = await entries(books.desk.database)
    assert {entry.charge_id for entry in found.values()} == {"left-out", *NO_TYPES}


async def test_without_a_type_another_programs_payment_is_foreign_and_other_rows_are_what_they_are(
    books: Books, telegram: SandboxClient
) -> None:
    rows = [row(charge(f"c{number}", payload="another program's")) for number in range(4)]
    rows[1]["source"] |= {"gift": {"id": "1"}}
    rows[2]["source"] |= {"paid_media": [], "paid_media_payload": "x"}
    rows[3]["source"] |= {"premium_subscription_duration": 3}
    for each in rows:
        del each["source"]["transaction_type"]
    for each in rows[1:]:
        del each["source"]["invoice_payload"]
    await telegram.add_rows(rows)
    report = await books.compare()
    assert report.counts.foreign == 1
    assert report.counts.others == {"gift_purchase": 1, "paid_media_payment": 1, "premium_purchase": 1}


async def test_a_pass_over_the_ledger_of_an_old_server_gives_the_access(books: Books, telegram: SandboxClient) -> None:
    books.desk.clock.advance(hours=1)
    paid = row(charge())
    del paid["source"]["transaction_type"]
    await telegram.add_rows([paid])
    await books.rebuild()
    assert await books.desk.holds()


async def test_a_copy_that_is_older_learns_the_states_of_the_pass(books: Books, server: SandboxServer) -> None:
    server.world.ledger.rows += [withdrawal()]
    await books.compare()
    books.desk.clock.advance(hours=1)
    async with books.desk.database.transaction() as session:
        await session.execute(update(LedgerEntry).values(state="pending"))
    server.world.ledger.rows[0] = withdrawal(state="succeeded")
    await books.rebuild()
    assert (await entries(books.desk.database))["w", "out"].state == "succeeded"

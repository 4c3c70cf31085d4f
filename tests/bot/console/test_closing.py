"""`report --close`: a month of Telegram's ledger, to the nanostar, and the costs that reports show."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bot.console.closing import CLOSING_FIELDS
from payments.ledger.nanostars import NANOSTARS
from sandbox.server import SandboxServer
from tests.support.commands import Commands
from tests.support.ledger import Books, Row, row
from tests.support.money import charge, refund

pytestmark = pytest.mark.engines("sqlite", "postgresql")

BEFORE = datetime(2026, 2, 27, tzinfo=UTC)
MONTH = datetime(2026, 3, 5, tzinfo=UTC)
AFTER = datetime(2026, 4, 2, tzinfo=UTC)


def moved(name: str, at: datetime, stars: int, nanostars: int = 0, *, into: bool = False, **partner: Any) -> Row:
    said = {"id": name, "amount": stars, "date": int(at.timestamp()), "source" if into else "receiver": partner}
    return said | ({"nanostar_amount": nanostars} if nanostars else {})


def sold(name: str, at: datetime, *, is_back: bool = False) -> Row:
    """Return a sale of 200 Stars, or its refund, of which 20.000000005 are an affiliate's."""
    sign = -1 if is_back else 1
    affiliate = {
        "affiliate_user": {"id": 7},
        "commission_per_mille": 100,
        "amount": sign * 20,
        "nanostar_amount": sign * 5,
    }
    fact = refund(charge(name), at) if is_back else charge(name, at=at)
    return row(fact, affiliate=affiliate) | {"amount": 179, "nanostar_amount": NANOSTARS - 5}


def withdrawal(name: str, at: datetime, stars: int, state: str) -> Row:
    return moved(name, at, stars, type="fragment", withdrawal_state={"type": state})


ROWS = [
    row(charge("old", at=BEFORE)),
    moved("fee", BEFORE, 10, type="telegram_ads"),
    sold("sale", MONTH),
    sold("returned", MONTH),
    sold("returned", MONTH + timedelta(days=1), is_back=True),
    row(charge("plain", at=MONTH)),
    moved("cast", MONTH, 1, 100_000_000, type="telegram_api", request_count=11),
    moved("gift", MONTH, 15, type="user", transaction_type="gift_purchase", user={"id": 9}),
    moved("ads", MONTH, 30, type="telegram_ads"),
    moved("ads", MONTH, 4, 1, into=True, type="telegram_ads"),
    moved("earned", MONTH, 3, 7, into=True, type="affiliate_program"),
    withdrawal("paid-out", MONTH, 50, "succeeded"),
    withdrawal("refused", MONTH, 40, "failed"),
    moved("refused", MONTH + timedelta(days=2), 40, into=True, type="fragment"),
    withdrawal("under-way", MONTH, 25, "pending"),
    row(charge("new", at=AFTER)),
]
OPENING = 190 * NANOSTARS
IN = 2 * (180 * NANOSTARS - 5) + (200 + 4 + 3 + 40) * NANOSTARS + 1 + 7
OUT = 180 * NANOSTARS - 5 + NANOSTARS * (1 + 15 + 30 + 50 + 40 + 25) + 100_000_000
CLOSING = OPENING + IN - OUT


async def _compared(books: Books, server: SandboxServer, rows: list[Row] | None = None) -> None:
    for each in ROWS if rows is None else rows:
        server.world.ledger.append(each)
    books.desk.clock.now = AFTER + timedelta(days=1)
    await books.compare()


@pytest.mark.criterion("N11")
async def test_a_month_closes_to_the_nanostar(books: Books, server: SandboxServer, commands: Commands) -> None:
    await _compared(books, server)
    assert server.world.ledger._balance_nanostars == CLOSING + 200 * NANOSTARS
    printed = await commands.prints("report", "--close", "2026-03")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[:2] == ["Stars, 2026-03-01 to 2026-03-31, UTC", "opening 190"]
    assert lines[2:14] == [
        "in payments 3 559.99999999",
        "in withdrawals that came back, and deposits 1 40",
        "in telegram_ads 1 4.000000001",
        "in commissions earned 1 3.000000007",
        "out payments given back 1 -179.999999995",
        "out withdrawals 3 -115",
        "out ads 1 -30",
        "out gifts 1 -15",
        "out paid broadcasts 1 -1.1",
        "closing 455.900000003",
        "later what came and went since 200",
        "all rows 655.900000003",
    ]
    assert lines[14] == "balance as Telegram said 2026-04-03 00:00 UTC 655.900000003"
    assert "Affiliates had 20.000000005 Stars of the payments." in lines
    assert "2026-03-05 00:00 UTC 50 Stars withdrawal, succeeded paid-out" in lines
    assert "2026-03-05 00:00 UTC 40 Stars withdrawal, failed refused" in lines
    assert "2026-03-07 00:00 UTC 40 Stars came back or deposited refused" in lines
    assert "25 Stars of withdrawals are pending: out of the balance, and not paid out yet." in lines
    assert not [line for line in lines if "did not come back" in line]
    assert lines[-1] == "2026-03 is closed: all rows add up to Telegram's balance."


@pytest.mark.criterion("N11")
@pytest.mark.engines("sqlite")
async def test_closed_month_has_the_same_sums_as_json_and_as_csv(
    books: Books, server: SandboxServer, commands: Commands
) -> None:
    await _compared(books, server)
    said = json.loads(await commands.prints("report", "--close", "2026-03", "--json"))
    assert (said["is_closed"], said["opening_nanostars"], said["closing_nanostars"]) == (True, OPENING, CLOSING)
    assert said["balance_nanostars"] == CLOSING + said["later_nanostars"]
    assert [each["state"] for each in said["withdrawals"]] == ["succeeded", "failed", "pending", None]
    lines = list(csv.DictReader(io.StringIO(await commands.prints("report", "--close", "2026-03", "--csv", "-"))))
    assert list(lines[0]) == list(CLOSING_FIELDS)
    assert [line["line"] for line in lines] == [
        "opening",
        *["movement"] * 9,
        "commission",
        "commission",
        "closing",
        "later",
        "balance",
    ]
    moves = [line for line in lines if line["line"] in ("opening", "movement")]
    assert sum(round(float(line["stars"]) * NANOSTARS) for line in moves) == CLOSING
    file = commands.directory / "month.csv"
    assert "is closed" in await commands.prints("report", "--close", "2026-03", "--csv", str(file))
    assert file.read_text(encoding="utf-8").splitlines()[1] == "2026-03,opening,,,,190"


async def _not_closed(commands: Commands, month: str = "2026-03") -> str:
    return (await commands.prints("report", "--close", month, status=1)).splitlines()[-1]


@pytest.mark.criterion("N11")
async def test_a_month_that_does_not_close_says_why(books: Books, server: SandboxServer, commands: Commands) -> None:
    assert "was not compared to its end" in await _not_closed(commands)
    await _compared(books, server)
    assert "before its end: run `reconcile`" in await _not_closed(commands, "2026-04")
    server.world.ledger._balance_nanostars += 1
    await books.compare()
    assert "Telegram's balance is 0.000000001 Stars more" in await _not_closed(commands)
    server.world.ledger._balance_nanostars -= 1
    await books.compare()
    await commands.prints("report", "--close", "2026-03")
    async with books.desk.database.transaction() as session:
        await session.execute(text("UPDATE ledger SET nanostars = nanostars + 5"))
    assert "rows were read since the last whole comparison" in " ".join((await _all(commands)).splitlines())
    await books.mark()
    assert "a pass over Telegram's whole ledger is not complete" in await _not_closed(commands)


async def _all(commands: Commands) -> str:
    return await commands.prints("report", "--close", "2026-03", status=1)


@pytest.mark.engines("sqlite")
async def test_a_row_that_could_not_be_kept_keeps_the_month_open(
    books: Books, server: SandboxServer, commands: Commands
) -> None:
    await _compared(books, server, [*ROWS, moved("fee", BEFORE, 11, type="telegram_ads")])
    printed = await _all(commands)
    assert "the rows on record make 655.900000003 Stars, those that were read 644.900000003" in printed
    assert "1 rows of the ledger could not be kept" in printed


@pytest.mark.engines("sqlite")
async def test_a_server_that_does_not_tell_the_balance_is_read_all_the_same(
    books: Books, server: SandboxServer, commands: Commands
) -> None:
    await server.client.set_switches(server_before_9=True)
    await _compared(books, server)
    assert (await books.stand()).compared_at is not None
    assert (await books.desk.event("sale")).amount_cents == 200
    assert "older than Bot API 9.1" in await _not_closed(commands)


@pytest.mark.engines("sqlite")
async def test_a_failed_withdrawal_that_did_not_come_back_is_said(
    books: Books, server: SandboxServer, commands: Commands
) -> None:
    await _compared(books, server, [row(charge("old", at=BEFORE)), withdrawal("refused", MONTH, 40, "failed")])
    assert "40 Stars of failed withdrawals did not come back" in await commands.prints("report", "--close", "2026-03")


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--close", "2026-13"),
        ("--close", "March"),
        ("--close", "0000-01"),
        ("--json",),
        ("--close", "2026-03", "--chart", "x.svg"),
    ],
)
async def test_wrong_month_is_a_usage_error(commands: Commands, arguments: tuple[str, ...]) -> None:
    result = await commands.run("report", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--close" in result.stderr


@pytest.mark.criterion("N11")
async def test_a_report_is_net_of_commissions_and_costs(
    books: Books, server: SandboxServer, commands: Commands
) -> None:
    foreign = row(charge("foreign", payload="another program's", at=MONTH), affiliate={"amount": 20}) | {"amount": 180}
    await _compared(books, server, [*ROWS, foreign])
    printed = await commands.prints("report", "--since", "2026-03-01", "--until", "2026-03-31")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    heads = "revenue of which renewals given back commission other costs net purchases"
    assert lines[1].startswith(f"month {heads}")
    assert lines[2].startswith("2026-03-01 600 0 200 20.000000005 42.099999999 337.899999996 3")
    assert lines[5].startswith(f"channel plan {heads}")
    assert lines[6].startswith("telegram_stars - 0 0 0 0 42.099999999 -42.099999999 0")
    assert lines[7].startswith("telegram_stars month 600 0 200 20.000000005 0 379.999999995 3")
    rows = csv.DictReader(
        io.StringIO(await commands.prints("report", "--since", "2026-03-01", "--until", "2026-03-31", "--csv", "-"))
    )
    assert [
        (each["plan"], each["net"], each["commission"], each["other_costs"], each["net_of_costs"]) for each in rows
    ] == [
        ("", "0", "0", "42.099999999", "-42.099999999"),
        ("month", "400", "20.000000005", "0", "379.999999995"),
    ]

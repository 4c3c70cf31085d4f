import csv
import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text, update

from bot.charts.png import has_font
from bot.console.report import CSV_FIELDS
from db.clock import utc_now
from db.tables import StripeEvent
from tests.support.cards import card_charge
from tests.support.clock import START
from tests.support.commands import Commands
from tests.support.desk import Desk
from tests.support.money import STRANGER, charge, refund
from tests.support.rows import add_other_services_event

pytestmark = pytest.mark.engines("sqlite", "postgresql")

DATABASE_MD: Final = Path(__file__).parents[3] / "docs" / "database.md"
SPAN: Final = ("--since", "2026-02-09", "--until", "2026-03-31")
HEADS: Final = "revenue of which renewals given back net purchases new subscriptions renewals refunds paying users"


async def _fill(desk: Desk) -> None:
    """Take a subscription and its renewal, a purchase that goes back, one by card, and one of another service."""
    begun = START - timedelta(days=20)
    await desk.take(charge("first", "auto", at=begun, ends_at=begun + timedelta(days=30), is_first=True))
    await desk.take(charge("renewal", "auto", at=START, ends_at=START + timedelta(days=40)))
    await desk.take(charge("month", payer=STRANGER))
    await desk.take(refund(charge("month", payer=STRANGER), at=START + timedelta(days=2)))
    await desk.take(card_charge("ch_1"))
    async with desk.database.transaction() as session:
        await add_other_services_event(session, "theirs", await desk.user_id())


@pytest.mark.criterion("N1")
async def test_a_report_has_two_tables_for_each_currency(commands: Commands, desk: Desk) -> None:
    await _fill(desk)
    lines = [" ".join(line.split()) for line in (await commands.prints("report", *SPAN)).splitlines()]
    assert lines == [
        "USD, 2026-02-09 to 2026-03-31, UTC",
        f"month {HEADS}",
        "2026-02-09 0.00 0.00 0.00 0.00 0 0 0 0 0",
        "2026-03-01 9.98 0.00 0.00 9.98 2 0 0 0 1",
        "in all 9.98 0.00 0.00 9.98 2 0 0 0 1",
        "",
        f"channel plan {HEADS}",
        "stripe - 4.99 0.00 0.00 4.99 1 0 0 0 1",
        "stripe month 4.99 0.00 0.00 4.99 1 0 0 0 1",
        "",
        "XTR, 2026-02-09 to 2026-03-31, UTC",
        f"month {HEADS}",
        "2026-02-09 150 0 0 150 0 1 0 0 1",
        "2026-03-01 350 150 200 150 1 0 1 1 2",
        "in all 500 150 200 300 1 1 1 1 2",
        "",
        f"channel plan {HEADS}",
        "telegram_stars auto 300 150 0 300 0 1 1 0 1",
        "telegram_stars month 200 0 200 0 1 0 0 1 1",
        "",
    ]


@pytest.mark.criterion("N1")
@pytest.mark.engines("sqlite")
async def test_the_csv_has_a_line_for_each_step_and_source_in_minor_units(commands: Commands, desk: Desk) -> None:
    await _fill(desk)
    printed = await commands.prints("report", *SPAN, "--csv", "-")
    assert printed.splitlines() == [
        ",".join(CSV_FIELDS),
        "2026-02-09,2026-02-28,XTR,telegram_stars,auto,150,0,0,150,0,1,0,0,1,0,0,150",
        "2026-03-01,2026-03-31,USD,stripe,,499,0,0,499,1,0,0,0,1,0,0,499",
        "2026-03-01,2026-03-31,USD,stripe,month,499,0,0,499,1,0,0,0,1,0,0,499",
        "2026-03-01,2026-03-31,XTR,telegram_stars,auto,150,150,0,150,0,0,1,0,1,0,0,150",
        "2026-03-01,2026-03-31,XTR,telegram_stars,month,200,0,200,0,1,0,0,1,1,0,0,0",
    ]
    file = commands.directory / "report.csv"
    assert "XTR, 2026-02-09" in await commands.prints("report", *SPAN, "--csv", str(file))
    assert file.read_text(encoding="utf-8") == printed


async def test_the_sql_of_the_documentation_says_the_same_of_our_rows(desk: Desk) -> None:
    await _fill(desk)
    section = DATABASE_MD.read_text(encoding="utf-8").partition("### The sum of a month")[2]
    [sql] = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)[:1]
    async with desk.database.reading() as session:
        assert {(row[0], row[1]) for row in await session.execute(text(sql))} == {("XTR", 350), ("USD", 499)}


@pytest.mark.engines("sqlite")
async def test_a_channel_of_another_service_is_no_formula_of_a_spreadsheet(commands: Commands, desk: Desk) -> None:
    await _fill(desk)
    async with desk.database.transaction() as session:
        theirs = update(StripeEvent).where(StripeEvent.event_id == "theirs")
        await session.execute(theirs.values(payment_method="=1+1"))
    printed = await commands.prints("report", *SPAN, "--csv", "-")
    assert "'=1+1" in [row["channel"] for row in csv.DictReader(io.StringIO(printed))]


@pytest.mark.engines("sqlite")
async def test_report_without_an_end_goes_up_to_today(commands: Commands) -> None:
    before = utc_now().date()
    said = await commands.prints("report", "--since", "2026-02-09")
    told = "Nothing was paid or given back from 2026-02-09 to {}, UTC.\n"
    # Midnight may pass while the command runs.
    assert said in {told.format(day) for day in (before, utc_now().date())}


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--since", "2026-02-30"), "'2026-02-30' does not match"),
        (("--since", "2026-03-02", "--until", "2026-03-01"), "2026-03-02 is after 2026-03-01"),
        (("--since", "1926-01-01", "--until", "2026-03-01"), "has more than 400 steps of a month: take fewer days"),
        (("--since", "2024-01-01", "--until", "2026-03-01", "--by", "day"), "steps of a day: take longer ones (--by)"),
        (("--until", "9999-12-31"), "9999-12-31 is too far off"),
        (("--until", "0001-01-01"), "0001-01-01 is too far off"),
        (("--chart", "report.gif"), "report.gif is neither a .svg nor a .png"),
        (("--chart", "no/such/place.png"), "no/such/place.png cannot be written: No such file or directory"),
        (("--csv", "no/such/place.csv"), "no/such/place.csv cannot be written: No such file or directory"),
    ],
)
async def test_wrong_span_of_a_report_is_a_usage_error(
    commands: Commands, arguments: tuple[str, ...], why: str
) -> None:
    result = await commands.run("report", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in " ".join(result.stderr.replace("│", "").split())


@pytest.mark.criterion("N1")
@pytest.mark.engines("sqlite")
async def test_a_report_is_drawn(commands: Commands, desk: Desk) -> None:
    await _fill(desk)
    svg, png = commands.directory / "report.svg", commands.directory / "report.PNG"
    for file in (svg, png):
        result = await commands.run("report", *SPAN, "--chart", str(file))
        assert result.exit_code == 0
        assert result.stderr == "" or (file == png and not has_font())
        assert result.stdout.startswith("USD, ")
    assert ">500 - 200 = 300</text>" in svg.read_text(encoding="utf-8")
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize("can_write", [False, True])
async def test_a_picture_without_words_is_told_of(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, *, can_write: bool
) -> None:
    monkeypatch.setattr("bot.console.report.has_font", lambda: can_write)
    drawn = await commands.run("report", "--chart", "report.svg")
    assert (drawn.exit_code, drawn.stderr) == (0, ""), "the reader's machine has the fonts of an SVG"
    result = await commands.run("report", "--chart", "report.png")
    told = "report.png has no words, for this machine has none of the fonts"
    assert (result.exit_code, result.stderr.startswith(told), bool(result.stderr)) == (0, not can_write, not can_write)

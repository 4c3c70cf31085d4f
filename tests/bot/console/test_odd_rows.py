"""Odd rows of another service: a command that shows or exports them stays whole."""

import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text, update

from bot.charts.svg import Labels, draw
from bot.chat.history_pages import HistoryButton, HistoryPages
from bot.chat.words import for_language
from bot.console.export import _cell
from bot.console.files import no_formula
from bot.console.printing import money, shown
from bot.handlers.pending import _that_fit
from db.tables import StripeEvent, User, new_id
from db.users import find_user
from payments.audit.export import read_rows
from payments.audit.shown import cut
from payments.payment_desk import PaymentDesk
from payments.reports.reader import read_report
from payments.reports.spans import Span, Step
from tests.support.commands import Commands
from tests.support.desk import Desk
from tests.support.money import BUYER, CATALOG, SIGNER, charge

MESSAGE_LENGTH_MAX: Final = 4096
WORDS: Final = for_language("en")
NOTHING_BAD: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ODD: Final = st.one_of(
    st.sampled_from(
        ["", "=1+1", "@SUM(A1)", "+1", "-1", "\tx", "x" * 5000, "\u202e" * 40, "a\nb\r\x1b[2J", "<b>&" * 900]
    ),
    st.text(NOTHING_BAD, max_size=60),
)
BAD_BEGINNINGS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
FIRST_DAY: Final = datetime(2026, 3, 1, tzinfo=UTC)
ENDS: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@st.composite
def odd_rows(draw_: st.DrawFn) -> list[dict[str, Any]]:
    return [
        {
            "event_type": draw_(ODD),
            "payment_method": draw_(ODD),
            "amount_cents": draw_(st.integers(1, 2**31 - 1)),
            "currency": draw_(st.sampled_from(["USD", "XTR", "usd", "=1", "$$$", "JPY", "\u202ea"])),
            "status": 1,
            "reason": draw_(st.none() | ODD),
            "requested_by": draw_(st.none() | ODD),
            "error": draw_(st.none() | ODD),
            "outcome": draw_(st.none() | ODD),
            "origin": draw_(st.none() | st.just("neighbour")),
            "webhook_timestamp": draw_(st.sampled_from([FIRST_DAY, *ENDS])),
        }
        for _ in range(draw_(st.integers(1, 8)))
    ]


@asynccontextmanager
async def _with_rows(desk: Desk, rows: list[dict[str, Any]], name: str) -> AsyncIterator[User]:
    async with desk.database.transaction() as session:
        user = await find_user(session, BUYER.telegram_id)
        assert user is not None
        await session.execute(update(User).where(User.id == user.id).values(username=name))
        ids = [new_id() for _ in rows]
        odd = [
            row | {"id": key, "event_id": f"{name}{key}", "customer_id": user.id}
            for row, key in zip(rows, ids, strict=True)
        ]
        await session.execute(insert(StripeEvent), odd)
    yield user


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=odd_rows(), name=ODD)
async def test_any_row_of_another_service_is_shown_drawn_and_exported(
    desk: Desk, rows: list[dict[str, Any]], name: str
) -> None:
    await desk.take(charge())
    async with _with_rows(desk, rows, name):
        pages = HistoryPages(PaymentDesk(desk.database, desk.clock), CATALOG, SIGNER)
        for for_admin in (True, False):
            page = await pages.show(WORDS, HistoryButton(telegram_id=BUYER.telegram_id, for_admin=for_admin))
            assert page is not None
            assert len(page.text) <= MESSAGE_LENGTH_MAX
        report = await read_report(desk.database, Span(date(2026, 3, 1), date(2026, 3, 31)), Step.WEEK)
        ET.fromstring(draw(report, Step.WEEK, Labels()))  # noqa: S314 - our own picture
        exported = [row async for batch in read_rows(desk.database) for row in batch]
        assert len(exported) >= len(rows)
        target = io.StringIO(newline="")
        csv.writer(target).writerows([[_cell(value) for value in row.values()] for row in exported])
        for line in csv.reader(io.StringIO(target.getvalue(), newline="")):
            assert not [cell for cell in line if cell.startswith(BAD_BEGINNINGS)]


async def test_sums_beyond_64_bits_and_dates_that_are_none(desk: Desk, commands: Commands) -> None:
    await desk.take(charge())
    row = {"event_type": "charge.succeeded", "payment_method": "other", "amount_cents": 5, "currency": "USD"}
    async with _with_rows(desk, [row | {"status": 1}] * 3, "ann"), desk.database.transaction() as session:
        await session.execute(
            text(
                "UPDATE stripe_events SET amount_cents = 9223372036854775807, created_at = '2026-02-30 10:00:00',"
                " processed_at = '2026-03-02 00:00:00', webhook_timestamp = '2026-03-02 00:00:00' WHERE origin IS NULL"
            )
        )
    said = await commands.prints("report", "--since", "2026-03-01", "--until", "2026-03-31")
    assert "276,701,161,105,643" in said
    assert len((await commands.prints("export")).splitlines()) == 5
    assert "charge-1" in await commands.prints("history", str(BUYER.telegram_id))


@pytest.mark.parametrize("beginning", [*BAD_BEGINNINGS, " =", "\0=", "\u200b@", "\uff1d"])
def test_no_cell_is_a_formula(beginning: str) -> None:
    assert no_formula(f"{beginning}1+1").startswith("'")


@pytest.mark.parametrize("value", [-5, 5, 1.5, None])
def test_numbers_stay_numbers(value: float | None) -> None:
    assert _cell(value) == value


def test_a_list_shows_one_entry_at_least() -> None:
    entries = [WORDS.say("person", telegram_id="9" * 900)] * 9
    assert 1 <= len(_that_fit(entries)) < len(entries)
    assert len(_that_fit([entries[0] * 9])) == 1


@given(st.text(), st.integers(1, 40))
def test_cut_text_keeps_its_bound_and_its_one_line(value: str, length_max: int) -> None:
    assert len(cut(value, length_max)) <= length_max
    assert len(shown(value).splitlines()) <= 1


@pytest.mark.parametrize("amount", [10**40, -(10**40), 2**63, float("inf")])
def test_no_amount_is_too_large_to_be_said(amount: int) -> None:
    assert len(money(amount, "USD")) < 60
    assert len(WORDS.money(amount, "USD")) < 80
    assert len(WORDS.money(amount, "XTR")) < 80

"""Rows of the ledger with odd values, or which the database refuses: kept raw beside the others."""

import pytest

from payments.ledger.kept import QUARANTINED_ROWS_MAX
from payments.ledger.nanostars import NANOSTARS
from payments.recording.quarantine import QUARANTINE_PREFIX, quarantine_ledger_row
from payments.waiting import RetryResult, read_backlog, retry
from sandbox.client import SandboxClient
from sandbox.server import SandboxServer
from tests.payments.ledger.kept_rows import entries, set_aside
from tests.support.ledger import Books, Row, other_row, row
from tests.support.money import charge
from tests.support.obstacles import refusing

pytestmark = pytest.mark.engines("sqlite", "postgresql")

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

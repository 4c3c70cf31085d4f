"""The state of a withdrawal in `ledger_rows`."""

import pytest
from sqlalchemy import update

from db.tables import LedgerEntry
from payments.ledger.reconciliation import REFRESHED_PAGES_MAX
from sandbox.server import SandboxServer
from tests.payments.ledger.kept_rows import DATE, entries, withdrawal
from tests.support.ledger import Books, other_row

pytestmark = pytest.mark.engines("sqlite", "postgresql")


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


async def test_a_copy_that_is_older_learns_the_states_of_the_pass(books: Books, server: SandboxServer) -> None:
    server.world.ledger.rows += [withdrawal()]
    await books.compare()
    books.desk.clock.advance(hours=1)
    async with books.desk.database.transaction() as session:
        await session.execute(update(LedgerEntry).values(state="pending"))
    server.world.ledger.rows[0] = withdrawal(state="succeeded")
    await books.rebuild()
    assert (await entries(books.desk.database))["w", "out"].state == "succeeded"

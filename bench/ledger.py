"""Measures a rebuild from a ledger of 100,000 transactions, and a comparison whose cost depends on new rows alone."""

import json
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter, process_time
from typing import Any, Final

from aiogram import Bot

from bench.measurements import Figure
from db.clock import utc_now
from db.engine import Database
from payments.audit.facts import Person
from payments.ledger import progress
from payments.ledger.fetching import PAGE_ROWS, TelegramLedger
from payments.ledger.rebuild import WholePass
from payments.ledger.reconciliation import Reconciliation
from payments.ledger.rows import NANOSTARS, read_row
from payments.ledger.scan import OVERLAP_ROWS, PageStep
from payments.subscriptions.chain import Terms
from sandbox.client import SandboxClient
from tests.support.bots import talking_bot
from tests.support.browser import running
from tests.support.ledger import Row, row
from tests.support.money import ADMINS, CATALOG, SIGNER, TOKEN, charge, refund

FIRST_DAY: Final = datetime(2025, 1, 1, tzinfo=UTC)
BUYERS: Final = 20_000
CHUNK_ROWS: Final = 5_000
NEW_ROWS: Final = 50
CALL_MS: Final = 100.0
"""The least time in which Telegram's servers return a page: our own work for it must not take longer."""
GROWTH_MIB_MAX: Final = 64.0
_STARS: Final = 5


class TimedLedger(TelegramLedger):
    """A ledger that counts its calls and their seconds."""

    def __init__(self, bot: Bot) -> None:
        super().__init__(bot)
        self.calls = 0
        self.seconds = 0.0

    async def page(self, offset: int) -> list[Any]:
        """Fetch a ledger page, and time it."""
        began = perf_counter()
        rows = await super().page(offset)
        self.seconds += perf_counter() - began
        self.calls += 1
        return rows


async def measure_rebuild(engine: str, database: Database, row_count: int) -> list[Figure]:
    """Measure a rebuild of so many transactions, of which one in twenty is a refund."""
    async with _sandbox() as (client, ledger):
        for chunk in _chunks(row_count):
            await client.add_rows(chunk)
        async with database.transaction() as session:
            await progress.mark_unfinished(session, utc_now())
        memory_mib: list[float] = []

        def look(_: PageStep | int) -> None:
            memory_mib.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

        began, cpu_began = perf_counter(), process_time()
        whole = WholePass(database, ledger, CATALOG, SIGNER, utc_now, Terms())
        report = await whole.run(on_step=look, on_settled=look)
        seconds, cpu_seconds = perf_counter() - began, process_time() - cpu_began
    pages = -(-report.row_count // PAGE_ROWS)
    own_ms = (seconds - ledger.seconds) * 1000 / pages
    warm = memory_mib[len(memory_mib) // 10]
    return [
        Figure(
            f"a rebuild of {report.row_count:,} transactions", engine, seconds, "s", note=f"{report.settled:,} settled"
        ),
        Figure(
            "our own work for a page of it", engine, cpu_seconds * 1000 / pages, "ms", CALL_MS, note="processor time"
        ),
        Figure("with the database's, and whoever else is busy", engine, own_ms, "ms"),
        Figure("memory that it grows by", engine, memory_mib[-1] - warm, "MiB", GROWTH_MIB_MAX),
    ]


async def measure_comparison(engine: str, database: Database, row_count: int) -> list[Figure]:
    """Measure a comparison of 50 new ledger rows behind so many that the desk has read before."""
    old, new = _other("old"), _other("new")
    async with _sandbox() as (client, ledger):
        await client.add_copies(old, row_count)
        await _have_read(database, old, row_count)
        await client.add_copies(new, NEW_ROWS)
        comparison = Reconciliation(database, ledger, SIGNER, utc_now, ADMINS, on_recovered=lambda: None)
        began = perf_counter()
        report = await comparison.run()
        seconds = perf_counter() - began
    if report.counts.unexplained or report.counts.seen != OVERLAP_ROWS + NEW_ROWS:
        raise ValueError(f"the comparison found a difference: {report}")
    what = f"a comparison, {NEW_ROWS} new behind {row_count:,}"
    return [
        Figure(f"{what}: pages asked for", engine, ledger.calls, "", floor=2),
        Figure(what, engine, seconds * 1000, "ms"),
    ]


async def _have_read(database: Database, old: Row, row_count: int) -> None:
    """Set the ledger's reading position behind so many rows.

    The benchmark does not read them, because that takes a call for each hundred.
    """
    last = range(row_count - OVERLAP_ROWS, row_count)
    async with database.transaction() as session:
        stand = await progress.lock(session)
        progress.start_over(stand)
        stand.row_count = row_count
        stand.nanostars = -row_count * _STARS * NANOSTARS
        stand.latest = json.dumps([read_row(old | {"id": f"{old['id']}-{number}"}, SIGNER).key for number in last])


def _other(name: str) -> Row:
    return {"id": name, "amount": _STARS, "date": int(FIRST_DAY.timestamp()), "receiver": {"type": "telegram_ads"}}


def _chunks(row_count: int) -> Iterator[list[Row]]:
    rows: list[Row] = []
    for number in range(row_count):
        paid_at = FIRST_DAY + timedelta(seconds=30 * number)
        fact = charge(f"charge-{number:07d}", payer=Person(10_000 + number % BUYERS), at=paid_at)
        rows.append(row(fact))
        if number % 20 == 0:
            rows.append(row(refund(fact, paid_at + timedelta(seconds=10))))
        if len(rows) >= CHUNK_ROWS or number == row_count - 1:
            yield rows
            rows = []


@asynccontextmanager
async def _sandbox() -> AsyncIterator[tuple[SandboxClient, TimedLedger]]:
    """Run a sandbox in a process of its own, so that the figures leave out its work and memory."""
    options = ["--port", "0", "--page-port", "-1", "--token", TOKEN]
    with running("sandbox", options, until="Control API") as program:
        url = program.address("Bot API")
        async with SandboxClient(url) as client, talking_bot(url, TOKEN) as bot:
            yield client, TimedLedger(bot)

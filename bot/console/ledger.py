"""The commands `reconcile` and `rebuild`: Telegram's ledger compared with the desk's rows, or the rows rebuilt from it.

They import aiogram, because both speak to Telegram.
"""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bot.console.database import open_database
from bot.desk.ledger_watch import mark_if_lost
from bot.desk.tools import tools
from bot.settings import Settings
from db.engine import Database
from db.errors import AnotherDeskError
from db.lock import DeskLock, desk_lock
from db.states import EventOutcome
from payments.errors import LedgerError
from payments.ledger import progress
from payments.ledger.fetching import TelegramLedger
from payments.ledger.findings import Counts
from payments.ledger.rebuild import PassReport
from payments.ledger.reconciliation import Comparison, PassUnfinishedError
from payments.ledger.scan import CrossedError, PageStep
from payments.telegram_errors import TELEGRAM_ERRORS, in_words

FINDINGS_SHOWN: Final = 20

UNKNOWN_TO_THE_LEDGER: Final = (
    ("payments by card", "Stripe has them: Starledger's rows of them are in a backup only"),
    ("access granted by hand, and revoked by hand", "`history` of a backup shows it; grant it again"),
    ("why something was refunded, and who asked", "the rows say `telegram`"),
    ("subscriptions cancelled or failed", "they count as running until their time is over; grace is not given again"),
    ("until when Telegram said a renewal pays", "30 days from the charge or from the end before it"),
    ("days given back for a late settlement", "the days that were bought count, from when they were paid"),
    ("languages of the buyers", "known again with their next payment"),
)
"""Facts that a rebuild cannot bring back, each with what stands in its place."""

_OUTCOMES: Final = {
    EventOutcome.GRANTED: "granted",
    EventOutcome.REFUNDED: "refunded",
    EventOutcome.FOREIGN: "foreign: another program sold them",
    EventOutcome.RETURNED: "returned: refunds that came back to the seller",
    EventOutcome.REPLACED: "replaced: refunds for which less was left",
    EventOutcome.PARKED: "parked: see `pending`",
    None: "still open: the running desk settles them, else the next start",
}

T = TypeVar("T")


async def compare(settings: Settings, console: Console, *, from_start: bool, is_dry: bool) -> bool:
    """Compare the ledger with our rows, settle missing ones, and print a table; False: it cannot explain a difference.

    It works beside a running desk or without one, and leaves calls and notices to that desk, or to the next start.
    `from_start` reads the ledger from its first row, `is_dry` writes nothing. It marks a lost database and settles
    nothing there, because the desk rebuilds it first, in silence.
    """
    async with open_database(settings) as database, tools(settings) as having:
        desk, ledger = having.desk(settings, database), TelegramLedger(having.bot)
        with _progress(console) as bar:
            reading_bar = bar.add_task("Telegram's ledger", total=await _rows_known(database, from_start=from_start))
            recovered: list[str] = []

            def on_step(step: PageStep) -> None:
                _advance(bar, reading_bar, step)
                recovered.extend(fact.event_id for fact in step.page.recovered)

            async def run() -> Comparison:
                if not is_dry:
                    await mark_if_lost(database, ledger, having.clock)
                return await desk.reconciliation.run(from_start=from_start, is_dry=is_dry, on_step=on_step)

            comparison = await _in_words(run(), console)
            for event_id in () if is_dry else recovered:
                await desk.worker.process(event_id)
    if comparison is None:
        return False
    _print_counts(console, comparison.counts)
    return not comparison.counts.unexplained


async def rebuild(settings: Settings, console: Console, *, fill: bool, trusts_unsigned: bool) -> bool:
    """Rebuild the database from the ledger, or bring a restored one up to it, and print the outcomes.

    False: it refuses or breaks off the rebuild, or cannot explain a difference. It holds the desk's lock,
    so no desk may run. Raises AnotherDeskError.
    """
    lock = desk_lock(settings.database_url.get_secret_value(), settings.bot_id)
    try:
        await _take(lock)
        async with open_database(settings) as database, tools(settings) as having:
            if not await _may_begin(database, console, fill=fill):
                return False
            await _mark(database, having.clock(), trusts_unsigned=trusts_unsigned)
            whole = having.desk(settings, database).whole_pass
            with _progress(console) as bar:
                reading_bar = bar.add_task("Telegram's ledger", total=None)
                settled_bar = bar.add_task("settled", total=None)
                run = whole.run(
                    on_step=lambda step: _advance(bar, reading_bar, step),
                    on_settled=lambda count: bar.advance(settled_bar, count),
                )
                report = await _in_words(run, console)
    finally:
        await lock.release()
    if report is None:
        return False
    _print_pass(console, report)
    return not report.counts.unexplained


async def _take(lock: DeskLock) -> None:
    """Take the desk's lock at once, without waiting for a desk that runs."""
    try:
        await lock.ensure()
        await lock.acquire()
    except AnotherDeskError as error:
        raise AnotherDeskError(f"{error}: stop it, and run this again") from None


async def _may_begin(database: Database, console: Console, *, fill: bool) -> bool:
    async with database.reading() as session:
        stand = await progress.find(session)
        is_filled = await progress.has_events(session)
    if fill or not is_filled or (stand is not None and stand.pass_wanted_at is not None):
        return True
    console.print(
        "This database has payments in it, and nothing was done. If it was restored from a backup, `rebuild --fill`"
        " brings it up to Telegram's ledger: nobody is told, and nothing is sent."
    )
    return False


async def _mark(database: Database, now: datetime, *, trusts_unsigned: bool) -> None:
    """Mark the database for a pass over the ledger, unless a pass that broke off is to go on."""
    async with database.transaction() as session:
        stand = await progress.lock(session)
        if stand.pass_wanted_at is None:
            await progress.mark_unfinished(session, now, trusts_unsigned=trusts_unsigned)
        elif trusts_unsigned:
            stand.pass_trusts_unsigned = True


async def _rows_known(database: Database, *, from_start: bool) -> int | None:
    """Return the least count of ledger rows, for the bar; Telegram tells none (Bot API, getStarTransactions)."""
    async with database.reading() as session:
        stand = await progress.find(session)
    return stand.row_count if stand is not None and from_start and stand.row_count else None


async def _in_words(run: Awaitable[T], console: Console) -> T | None:
    """Wait for a run over the ledger; None: it broke off, and a printed sentence says why."""
    again = "The rows that were read are kept: run this again."
    try:
        return await run
    except PassUnfinishedError:
        console.print("A rebuild is not complete, and comes first: start the bot, or run `rebuild`.")
    except TELEGRAM_ERRORS as error:
        console.print(f"Telegram does not answer: {in_words(error)}. {again}")
    except (LedgerError, CrossedError) as error:
        console.print(f"{error}. {again}")
    return None


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield bar


def _advance(bar: Progress, task: TaskID, step: PageStep) -> None:
    bar.update(task, completed=step.row_count)


def _print_counts(console: Console, counts: Counts) -> None:
    table = Table()
    values = {
        "seen": counts.seen,
        "known": counts.known,
        "recovered": counts.recovered,
        "refunded": counts.refunded,
        "foreign": counts.foreign,
        "other": counts.others.total(),
        "unexplained": counts.unexplained,
    }
    for name in values:
        table.add_column(name, justify="right")
    table.add_row(*map(str, values.values()))
    console.print(table)
    for kind, count in sorted(counts.others.items()):
        console.print(f"other: {kind}: {count}")
    for each in counts.findings[:FINDINGS_SHOWN]:
        sides = f"the ledger {each.there}, here {each.here}" if each.there != "" else ""
        console.print(f"unexplained: {each.finding}: {each.about}  {each.detail or sides}".rstrip())
    if counts.unexplained > FINDINGS_SHOWN:
        console.print(f"unexplained: {counts.unexplained} in all.")


def _print_pass(console: Console, report: PassReport) -> None:
    _print_counts(console, report.counts)
    for outcome, words in _OUTCOMES.items():
        if report.outcomes[outcome]:
            console.print(f"{report.outcomes[outcome]} {words}")
    table = Table("Facts that a ledger lacks", "In their place", title_justify="left")
    for row in UNKNOWN_TO_THE_LEDGER:
        table.add_row(*row)
    console.print(table)

"""The operator's command line: `python -m bot [COMMAND]`.

Only the commands that call Telegram import aiogram, because the import takes seconds.
"""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from loguru import logger

from bot import __version__
from bot.console.access import grant_access, revoke_access
from bot.console.backup import make_backup
from bot.console.closing import asked_month, close_month
from bot.console.database import open_database
from bot.console.erase import erase_person
from bot.console.export import Format, export_events
from bot.console.history import print_history
from bot.console.printing import CONSOLE
from bot.console.refund import refund_one
from bot.console.report import asked_span, make_report
from bot.console.waiting import print_pending, retry_one
from bot.monitoring import logs
from bot.monitoring.logs import is_journal, prioritised
from bot.settings import Settings, SettingsError
from db.clock import utc_now
from db.errors import AnotherDeskError, UnfitServerError, WrongDatabaseError, is_away
from db.lock.proof import is_pooler_error, pooler_error
from db.timings import PRODUCTION, Timings
from payments.reports.spans import Step
from payments.sale.catalog import CatalogError
from payments.sale.payload import DAYS_MAX, TELEGRAM_ID_MAX

EXIT_FAILED: Final = 1
EXIT_WRONG_SETTING: Final = 78
"""EX_CONFIG of sysexits.h."""

_DATE: Final = ["%Y-%m-%d"]
_DATE_SHOWN: Final = "YYYY-MM-DD"
_TelegramId = Annotated[
    int, typer.Argument(metavar="TELEGRAM_ID", min=1, max=TELEGRAM_ID_MAX, help="The person's Telegram id.")
]
_Entitlement = Annotated[str, typer.Argument(metavar="ENTITLEMENT", help="An entitlement of a plan in the catalog.")]
_Since = Annotated[datetime | None, typer.Option(formats=_DATE, metavar=_DATE_SHOWN, help="The first day, UTC.")]
_Until = Annotated[
    datetime | None, typer.Option(formats=_DATE, metavar=_DATE_SHOWN, help="The last day, UTC; the default is today.")
]
_Reason = Annotated[str, typer.Option(help="The reason; it stays on record.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if is_asked:
        typer.echo(f"starledger {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001, FBT002 - typer's signature; its callback ends the program
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Run the payment desk of a Telegram bot, or manage it from the outside.

    Without a command the desk runs. The settings come from the environment and from the file .env, which .env.example
    explains. Exit status 78: a setting, the catalog or the database is wrong, and one line names the mend.
    """
    if context.invoked_subcommand is None:
        run(context)


@app.command()
def run(context: typer.Context) -> None:
    """Run the desk from the command line: sell, record, grant, refund, until a signal stops it.

    The desk brings the database up to date first. On SIGTERM or Ctrl-C it finishes its work, within 10 seconds.
    """
    with _errors_in_words():
        settings = _load_settings()
        from bot.desk.app import run_desk  # noqa: PLC0415 - imports aiogram

        # A program in Python may hand in its own, as the tests do.
        timings = context.obj if isinstance(context.obj, Timings) else PRODUCTION
        asyncio.run(run_desk(settings, timings))


@app.command()
def migrate() -> None:
    """Migrate the database from the command line. The daemon does so by itself at every start.

    Tables of other services in the database stay, with all their rows.
    """
    with _errors_in_words():
        asyncio.run(_migrate(_load_settings()))
    typer.echo("The database is up to date.")


@app.command()
def pending() -> None:
    """List on the command line the payments, refunds and renewals that wait, the oldest first.

    Each waits for its next attempt or for you.
    """
    with _errors_in_words():
        asyncio.run(print_pending(_load_settings(), CONSOLE))


@app.command()
def retry(waiting_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `pending` shows.")]) -> None:
    """Retry from the command line a payment, refund or renewal that waits.

    The running desk does it in seconds, else the next start. Exit status 1: nothing waits under that id.
    """
    with _errors_in_words():
        begun = asyncio.run(retry_one(_load_settings(), waiting_id, CONSOLE))
    raise typer.Exit(0 if begun else EXIT_FAILED)


@app.command()
def refund(
    charge_id: Annotated[str, typer.Argument(metavar="CHARGE_ID", help="The charge id that `history` shows.")],
    reason: Annotated[str | None, typer.Option(help="The reason; the buyer reads it.")] = None,
) -> None:
    """Refund a payment from the command line and end the access that it paid for, with a desk running or not.

    Exit status 1: the refund was refused, or is not through yet; `pending` lists it then.
    """
    with _errors_in_words():
        done = asyncio.run(refund_one(_load_settings(), charge_id, reason, CONSOLE))
    raise typer.Exit(0 if done else EXIT_FAILED)


@app.command()
def grant(
    telegram_id: _TelegramId,
    entitlement: _Entitlement,
    reason: _Reason,
    days: Annotated[int | None, typer.Option(min=1, max=DAYS_MAX, help="Days of access, from now on.")] = None,
    for_life: Annotated[bool, typer.Option("--for-life", help="Lifetime access.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Grant access from the command line, with actor and reason on record. Only /status tells the person.

    Exit status 1: the grant was refused.
    """
    if (days is None) != for_life:
        raise typer.BadParameter("say either --days or --for-life")
    with _errors_in_words():
        done = asyncio.run(grant_access(_load_settings(), telegram_id, entitlement, days, reason, CONSOLE))
    raise typer.Exit(0 if done else EXIT_FAILED)


@app.command()
def revoke(
    telegram_id: _TelegramId,
    entitlement: _Entitlement,
    reason: _Reason,
    source: Annotated[str | None, typer.Option(help="End only the grant of this source; `history` shows it.")] = None,
) -> None:
    """Revoke access from the command line, whatever gave it, with actor and reason on record. Nothing is refunded.

    A subscription goes on renewing: the refund of its last charge ends it. Exit status 1: nothing was revoked.
    """
    with _errors_in_words():
        done = asyncio.run(revoke_access(_load_settings(), telegram_id, entitlement, source, reason, CONSOLE))
    raise typer.Exit(0 if done else EXIT_FAILED)


@app.command()
def history(
    who: Annotated[str, typer.Argument(metavar="TELEGRAM_ID|@USERNAME", help="The person.")],
) -> None:
    """Print on the command line a person's payments, refunds, grants and access.

    Exit status 1: the desk knows no such person.
    """
    with _errors_in_words():
        found = asyncio.run(print_history(_load_settings(), who, CONSOLE))
    raise typer.Exit(0 if found else EXIT_FAILED)


@app.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="The file to write; left out: stdout.")] = None,
    style: Annotated[Format, typer.Option("--format", help="csv for a spreadsheet, jsonl for a program.")] = Format.CSV,
) -> None:
    """Export the audit table from the command line, with a desk running or not. Amounts are in minor units."""
    with _errors_in_words():
        count = asyncio.run(export_events(_load_settings(), style, file))
    typer.echo(f"{count} rows.", err=True)


@app.command()
def report(
    step: Annotated[Step, typer.Option("--by", help="The step of the table.")] = Step.MONTH,
    since: _Since = None,
    until: _Until = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the report as CSV; - is stdout.")] = None,
    chart_file: Annotated[Path | None, typer.Option("--chart", help="Draw the report, as .svg or .png.")] = None,
    *,
    close: Annotated[
        str | None, typer.Option("--close", metavar="YYYY-MM", help="Close that month of Telegram's ledger instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the month as JSON, with --close.")] = False,
) -> None:
    """Report on the command line revenue, renewals and refunds over time, by currency, of all channels.

    The default is the latest 12 months or weeks, or 30 days. With --close the report is every row of a month of
    Telegram's ledger, commissions and withdrawals too, to the nanostar: exit status 1 says that it does not close.
    """
    if close is not None or as_json:
        if close is None or since or until or chart_file:
            raise typer.BadParameter("--close stands without --since, --until and --chart; --json stands with --close")
        with _errors_in_words():
            is_closed = asyncio.run(
                close_month(_load_settings(), asked_month(close), csv_file, CONSOLE, as_json=as_json)
            )
        raise typer.Exit(0 if is_closed else EXIT_FAILED)
    with _errors_in_words():
        span = asked_span(step, since.date() if since else None, until.date() if until else None, utc_now().date())
        asyncio.run(make_report(_load_settings(), span, step, csv_file, chart_file, CONSOLE))


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="A new file to write.")]) -> None:
    """Copy the database in use from the command line; for PostgreSQL, print the pg_dump line that does so.

    A desk on a restored copy reads Telegram's ledger first, and so fills the gap. Exit status 1: no backup was made.
    """
    with _errors_in_words():
        done = make_backup(_load_settings(), file, CONSOLE)
    raise typer.Exit(0 if done else EXIT_FAILED)


@app.command()
def erase(telegram_id: _TelegramId) -> None:
    """Erase a person from the command line: the name and every text go, the payments and the Telegram id stay.

    Exit status 1: the desk knows no such person.
    """
    with _errors_in_words():
        done = asyncio.run(erase_person(_load_settings(), telegram_id, CONSOLE))
    raise typer.Exit(0 if done else EXIT_FAILED)


@app.command()
def reconcile(
    *,
    full: Annotated[bool, typer.Option("--full", help="Compare from the ledger's first row on.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing, and skip the search for rows that the ledger lacks.")
    ] = False,
) -> None:
    """Compare Telegram's ledger with the desk's rows from the command line, with a desk running or not.

    The command records and settles a missing payment, and a missing refund ends its access. Exit status 1: a difference
    is unexplained, or the ledger could not be read.
    """
    with _errors_in_words():
        settings = _load_settings()
        from bot.console.ledger import compare  # noqa: PLC0415 - imports aiogram

        explained = asyncio.run(compare(settings, CONSOLE, from_start=full, is_dry=dry_run))
    raise typer.Exit(0 if explained else EXIT_FAILED)


@app.command()
def rebuild(
    *,
    fill: Annotated[bool, typer.Option("--fill", help="Bring a database from a backup up to the ledger.")] = False,
    trust_unsigned: Annotated[
        bool,
        typer.Option(
            "--trust-unsigned",
            help="Believe invoices that a lost token signed, where buyer and amount agree.",
        ),
    ] = False,
) -> None:
    """Rebuild the database from Telegram's ledger, on the command line, in silence: no message, no refund.

    The desk must not run. It rebuilds by itself when it starts on an empty database. A rebuild that breaks off goes on
    with the next start. Exit status 1: refused, broken off, or a difference is unexplained.
    """
    with _errors_in_words():
        settings = _load_settings()
        from bot.console.ledger import rebuild as rebuild_from_ledger  # noqa: PLC0415 - imports aiogram

        done = asyncio.run(rebuild_from_ledger(settings, CONSOLE, fill=fill, trusts_unsigned=trust_unsigned))
    raise typer.Exit(0 if done else EXIT_FAILED)


@app.command()
def doctor(
    *,
    remove_webhook: Annotated[
        bool, typer.Option("--remove-webhook", help="Remove a webhook that is left over, without asking.")
    ] = False,
) -> None:
    """Examine from the command line everything that the desk needs, and print each fault and its mend.

    The command runs beside the desk or without it, and changes nothing unasked. Exit status 1: a fault is there.
    """
    with _errors_in_words():
        from bot.console.doctor.examination import examine  # noqa: PLC0415 - imports aiohttp

        can_ask = sys.stdin.isatty()
        is_well = asyncio.run(examine(CONSOLE, Path(".env"), removes_webhook=remove_webhook, can_ask=can_ask))
    raise typer.Exit(0 if is_well else EXIT_FAILED)


async def _migrate(settings: Settings) -> None:
    async with open_database(settings):
        pass


def _load_settings() -> Settings:
    settings = Settings.load()
    logs.configure(settings.log_level, settings.log_format, settings.secrets())
    return settings


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """End a command line with 78 and one line about a fault that a person has to mend, else with 1 and the log."""
    logs.configure("INFO", "text")
    try:
        yield
    except (typer.BadParameter, BrokenPipeError):
        # A wrong argument, or a reader of the output that has ended: the command line's own affairs.
        raise
    except (SettingsError, WrongDatabaseError, UnfitServerError) as error:
        _complain(str(error))
        raise typer.Exit(EXIT_WRONG_SETTING) from None
    except CatalogError as error:
        mend = "CATALOG_FILE is no catalog to sell from: mend the file, or put the path of another into .env"
        _complain(f"{mend}: {error}")
        raise typer.Exit(EXIT_WRONG_SETTING) from None
    except AnotherDeskError as error:
        _complain(str(error))
        raise typer.Exit(EXIT_FAILED) from None
    except Exception as error:  # noqa: BLE001 - Python would print it beside the log, with the secrets in it
        if is_pooler_error(error):
            _complain(str(pooler_error()))
            raise typer.Exit(EXIT_WRONG_SETTING) from None
        if is_away(error):
            logger.error("the database does not answer: {}: {}", type(error).__name__, str(error).partition("\n")[0])
        else:
            logger.exception("stopped by an error that nobody expected")
        raise typer.Exit(EXIT_FAILED) from None


def _complain(words: str) -> None:
    line = f"starledger: {words}"
    typer.echo(prioritised(line, logging.ERROR) if is_journal(sys.stderr) else line, err=True)


if __name__ == "__main__":
    app(prog_name="python -m bot")

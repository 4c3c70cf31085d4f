"""The commands `migrate`, `backup`, `reconcile`, `rebuild` and `doctor`: the database and all that the desk needs."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from bot.console.backup import make_backup
from bot.console.command_line.exit_status import EXIT_FAILED, errors_in_words
from bot.console.command_line.settings_and_log import load_settings
from bot.console.database import open_database
from bot.console.printing import CONSOLE
from bot.settings import Settings


def migrate() -> None:
    """Migrate the database. The daemon does so by itself at every start.

    Tables of other services in the database stay, with all their rows.
    """
    with errors_in_words():
        asyncio.run(_migrate(load_settings()))
    typer.echo("The database is up to date.")


def backup(file: Annotated[Path, typer.Argument(help="A new file to write.")]) -> None:
    """Copy the database in use; for PostgreSQL, print the pg_dump line that does so.

    A desk on a restored copy reads Telegram's ledger first, and so fills the gap since the backup. Exit status 1: the
    command made no backup.
    """
    with errors_in_words():
        done = make_backup(load_settings(), file, CONSOLE)
    raise typer.Exit(0 if done else EXIT_FAILED)


def reconcile(
    *,
    full: Annotated[bool, typer.Option("--full", help="Compare from the ledger's first row on.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing, and skip the search for rows that the ledger lacks.")
    ] = False,
) -> None:
    """Compare Telegram's ledger with the desk's rows, with a desk running or not.

    The command records and settles a missing payment, and a missing refund ends its access. Exit status 1: it could
    not explain a difference, or not read the ledger.
    """
    with errors_in_words():
        settings = load_settings()
        from bot.console.ledger import compare  # noqa: PLC0415 - imports aiogram

        explained = asyncio.run(compare(settings, CONSOLE, from_start=full, is_dry=dry_run))
    raise typer.Exit(0 if explained else EXIT_FAILED)


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
    """Rebuild the database from Telegram's ledger, in silence: no message, no refund.

    The desk must not run. It rebuilds by itself when it starts on an empty database. A rebuild that breaks off goes on
    with the next start. Exit status 1: the command refused, broke off, or could not explain a
    difference.
    """
    with errors_in_words():
        settings = load_settings()
        from bot.console.ledger import rebuild as rebuild_from_ledger  # noqa: PLC0415 - imports aiogram

        done = asyncio.run(rebuild_from_ledger(settings, CONSOLE, fill=fill, trusts_unsigned=trust_unsigned))
    raise typer.Exit(0 if done else EXIT_FAILED)


def doctor(
    *,
    remove_webhook: Annotated[
        bool, typer.Option("--remove-webhook", help="Remove a webhook that is left over, without asking.")
    ] = False,
) -> None:
    """Examine everything that the desk needs, and print each fault and its mend.

    The command runs beside the desk or without it, and changes nothing unasked. Exit status 1: it found a fault.
    """
    with errors_in_words():
        from bot.console.doctor.examination import examine  # noqa: PLC0415 - imports aiohttp

        can_ask = sys.stdin.isatty()
        is_well = asyncio.run(examine(CONSOLE, Path(".env"), removes_webhook=remove_webhook, can_ask=can_ask))
    raise typer.Exit(0 if is_well else EXIT_FAILED)


async def _migrate(settings: Settings) -> None:
    async with open_database(settings):
        pass

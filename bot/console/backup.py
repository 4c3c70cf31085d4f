"""The command `backup`: a copy of the database, on which a desk reads Telegram's ledger first."""

import asyncio
import shlex
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from sqlalchemy.engine import URL

from bot.settings import Settings
from db.address import PostgresAddress, parse_database_url
from db.backup import copy_sqlite
from db.clock import utc_now
from db.engine import Database
from db.migrate import migrate
from payments.ledger.progress import mark_unfinished


def make_backup(settings: Settings, file: Path, console: Console) -> bool:
    """Copy a SQLite database to a new file, or print the line that copies PostgreSQL; False: it made no backup.

    It marks the copy, so that a desk on it first reads the later payments from Telegram's ledger. Raises
    WrongDatabaseError when the database is another bot's.
    """
    address = parse_database_url(settings.database_url.get_secret_value())
    if isinstance(address, PostgresAddress):
        _print_postgresql(address, file, console)
        return True
    source = address.path
    if file.exists():
        console.print(f"No backup is made: {file} is there already, and nothing is written over.")
        return False
    try:
        # The copy moves to its place at the end, so that a file of this name is whole and marked.
        with TemporaryDirectory(dir=file.parent, prefix=".starledger-") as directory:
            copy = Path(directory) / file.name
            copy_sqlite(source, copy)
            asyncio.run(_mark(address.url.set(database=str(copy)), settings.bot_id))
            copy.rename(file)
    except (OSError, sqlite3.Error) as error:
        console.print(f"No backup is made: {error}")
        return False
    console.print(
        f"{file}: {file.stat().st_size // 1024} KiB, whole. To restore it, stop the desk and put it at",
        f"    {source.absolute()}",
        "without the -wal and -shm files of the old one. The start reads what is missing from Telegram's ledger.",
        "People erased after this copy was made are still in it: once it is restored, erase them again.",
        sep="\n",
    )
    return True


async def _mark(url: URL, bot_id: int) -> None:
    copy = Database(url.render_as_string(hide_password=False))
    try:
        await migrate(copy, bot_id)
        async with copy.transaction() as session:
            await mark_unfinished(session, utc_now())
    finally:
        await copy.dispose()


def _print_postgresql(address: PostgresAddress, file: Path, console: Console) -> None:
    """Print the pg_dump line of a backup; pg_dump asks for the password, or reads it from ~/.pgpass."""
    console.print(
        "PostgreSQL makes its own backups:",
        f"    pg_dump --format=custom --file={file} {shlex.quote(address.without_password)}",
        "To restore one: pg_restore --clean --if-exists --dbname=..., and before the desk is started",
        "    starledger rebuild --fill",
        "People erased after the copy was made are still in it: erase them again.",
        sep="\n",
    )

"""The command `export`: the audit table as CSV for a spreadsheet, or as JSON Lines for a program."""

import csv
import enum
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from bot.console.database import open_database
from bot.console.files import no_formula, written
from bot.settings import Settings
from payments.audit.export import FIELDS, Row, count_rows, read_rows


class Format(enum.StrEnum):
    """The form of the exported rows."""

    CSV = "csv"
    JSONL = "jsonl"


async def export_events(settings: Settings, style: Format, file: Path | None) -> int:
    """Write every audit row to a file, or (None) to stdout; return their number.

    Progress goes to stderr. Raises typer.BadParameter when the file cannot be opened.
    """
    async with open_database(settings) as database:
        async with database.reading() as session:
            total = await count_rows(session)
        with ExitStack() as stack:
            target = stack.enter_context(written(file)) if file else sys.stdout
            progress = stack.enter_context(_progress())
            task = progress.add_task("export", total=total)
            write = _csv_writer(target) if style is Format.CSV else _jsonl_writer(target)
            count = 0
            async for batch in read_rows(database):
                for row in batch:
                    write(row)
                count += len(batch)
                progress.update(task, completed=count)
    return count


def _progress() -> Progress:
    columns = ("{task.description}", MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _csv_writer(target: TextIO) -> Callable[[Row], object]:
    writer = csv.DictWriter(target, FIELDS)
    writer.writeheader()
    return lambda row: writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    """Return a value as a cell of CSV: no text is a formula, not even another service's; a number stays one."""
    if isinstance(value, datetime):
        return _iso(value)
    return no_formula(value) if isinstance(value, str) else value


def _jsonl_writer(target: TextIO) -> Callable[[Row], object]:
    def write(row: Row) -> None:
        target.write(json.dumps(row, default=_iso, ensure_ascii=False) + "\n")

    return write


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")

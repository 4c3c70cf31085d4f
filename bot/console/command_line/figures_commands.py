"""The commands `export` and `report`: the audit table as a file, and revenue over time."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from bot.console.closing import asked_month, close_month
from bot.console.command_line.exit_status import EXIT_FAILED, errors_in_words
from bot.console.command_line.settings_and_log import load_settings
from bot.console.export import Format, export_events
from bot.console.printing import CONSOLE
from bot.console.report import make_report
from db.clock import utc_now
from payments.reports.spans import SpanError, Step, asked_span

_DATE: Final = ["%Y-%m-%d"]
_DATE_SHOWN: Final = "YYYY-MM-DD"
Since = Annotated[datetime | None, typer.Option(formats=_DATE, metavar=_DATE_SHOWN, help="The first day, UTC.")]
Until = Annotated[
    datetime | None, typer.Option(formats=_DATE, metavar=_DATE_SHOWN, help="The last day, UTC; the default is today.")
]


def export(
    file: Annotated[Path | None, typer.Argument(help="The file to write; left out: stdout.")] = None,
    style: Annotated[Format, typer.Option("--format", help="csv for a spreadsheet, jsonl for a program.")] = Format.CSV,
) -> None:
    """Export the audit table, with a desk running or not. Amounts are in minor units."""
    with errors_in_words():
        count = asyncio.run(export_events(load_settings(), style, file))
    typer.echo(f"{count} rows.", err=True)


def report(
    step: Annotated[Step, typer.Option("--by", help="The step of the table.")] = Step.MONTH,
    since: Since = None,
    until: Until = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the report as CSV; - is stdout.")] = None,
    chart_file: Annotated[Path | None, typer.Option("--chart", help="Draw the report, as .svg or .png.")] = None,
    *,
    close: Annotated[
        str | None, typer.Option("--close", metavar="YYYY-MM", help="Close that month of Telegram's ledger instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the month as JSON, with --close.")] = False,
) -> None:
    """Report revenue, renewals and refunds over time, by currency, of all channels.

    The default is the latest 12 months or weeks, or 30 days. With --close the report is every row of a month of
    Telegram's ledger, commissions and withdrawals too, to the nanostar: exit status 1 says that it does not close.
    """
    if close is not None or as_json:
        if close is None or since or until or chart_file:
            raise typer.BadParameter("--close stands without --since, --until and --chart; --json stands with --close")
        with errors_in_words():
            is_closed = asyncio.run(
                close_month(load_settings(), asked_month(close), csv_file, CONSOLE, as_json=as_json)
            )
        raise typer.Exit(0 if is_closed else EXIT_FAILED)
    with errors_in_words():
        try:
            span = asked_span(step, since.date() if since else None, until.date() if until else None, utc_now().date())
        except SpanError as error:
            raise typer.BadParameter(f"{error}") from None
        asyncio.run(make_report(load_settings(), span, step, csv_file, chart_file, CONSOLE))

"""The command `report`: revenue and refunds over time, as tables, as a picture, or as CSV for a spreadsheet."""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final, TextIO

import typer
from rich.console import Console

from bot.charts.png import has_font, to_png
from bot.charts.svg import Labels, draw
from bot.chat.money import in_major
from bot.console.database import open_database
from bot.console.files import no_formula, written, written_bytes
from bot.console.printing import CURRENCY_LENGTH_MAX, NAME_LENGTH_MAX, shown
from bot.settings import Settings
from payments.ledger.nanostars import NANOSTARS, stars
from payments.reports.figures import Figures, Report
from payments.reports.reader import read_report
from payments.reports.spans import Span, SpanError, Step

_SVG: Final = ".svg"
_PNG: Final = ".png"
STDOUT: Final = Path("-")
_AMOUNTS: Final = ("revenue", "of which renewals", "given back")
_COSTS: Final = ("commission", "other costs")
"""Columns of a currency that had costs."""
_HEADS: Final = (
    "net",
    "purchases",
    "new subscriptions",
    "renewals",
    "refunds",
    "paying users",
)
CSV_FIELDS: Final = (
    "from",
    "to",
    "currency",
    "channel",
    "plan",
    "revenue",
    "renewal_revenue",
    "given_back",
    "net",
    "purchases",
    "new_subscriptions",
    "renewals",
    "refunds",
    "paying_users",
    "commission",
    "other_costs",
    "net_of_costs",
)
"""Documented in docs/operating.md."""

Row = Sequence[str]


async def make_report(
    settings: Settings, span: Span, step: Step, csv_file: Path | None, chart_file: Path | None, console: Console
) -> None:
    """Print a report, and write it as CSV and as a picture on demand; CSV to stdout comes alone.

    Raises typer.BadParameter when there are too many steps, or a file cannot be written.
    """
    if chart_file is not None and chart_file.suffix.lower() not in (_SVG, _PNG):
        raise typer.BadParameter(f"{chart_file} is neither a {_SVG} nor a {_PNG}")
    try:
        async with open_database(settings) as database:
            report = await read_report(database, span, step)
    except SpanError as error:
        fewer = "take fewer days" if step is Step.MONTH else "take longer ones (--by), or fewer days"
        raise typer.BadParameter(f"{error}: {fewer}") from None
    if csv_file is not None:
        with nullcontext(sys.stdout) if csv_file == STDOUT else written(csv_file) as target:
            _write_csv(target, report)
    if chart_file is not None:
        has_words = chart_file.suffix.lower() == _SVG or has_font()
        _write_chart(chart_file, draw(report, step, Labels()), has_words=has_words)
    if csv_file != STDOUT:
        console.print(*_tables(report, step), sep="\n")


def _tables(report: Report, step: Step) -> Iterator[str]:
    span = report.whole.span
    if not report.whole.currencies:
        yield f"Nothing was paid or given back from {span.first} to {span.last}, UTC."
    for currency in report.whole.currencies:
        yield f"{shown(currency, CURRENCY_LENGTH_MAX)}, {span.first} to {span.last}, UTC"
        lines = [line for line in report.whole.lines if line.source.currency == currency]
        cells = _Cells(currency, has_costs=any(line.figures.has_costs for line in lines))
        steps = [
            (f"{each.span.first}", *cells.of(each.figures(currency), each.payers.get(currency, 0)))
            for each in report.steps
        ]
        in_all = cells.of(report.whole.figures(currency), report.whole.payers.get(currency, 0))
        yield from _aligned([(step.value, *cells.heads), *steps, ("in all", *in_all)], names=1)
        yield ""
        sources = [
            (
                shown(line.source.channel, NAME_LENGTH_MAX),
                shown(line.source.plan, NAME_LENGTH_MAX) or "-",
                *cells.of(line.figures, line.payers),
            )
            for line in lines
        ]
        yield from _aligned([("channel", "plan", *cells.heads), *sources], names=2)
        yield ""


class _Cells:
    """Writes the figures of one currency; if it had costs, the net amount is net of them."""

    def __init__(self, currency: str, *, has_costs: bool) -> None:
        self._currency = currency
        self._has_costs = has_costs
        self.heads: Final = (*_AMOUNTS, *(_COSTS if has_costs else ()), *_HEADS)

    def of(self, figures: Figures, payers: int) -> Row:
        amounts = (figures.revenue, figures.renewal_revenue, figures.given_back)
        costs = (figures.commission_nanostars, figures.costs_nanostars) if self._has_costs else ()
        counts = (figures.purchases, figures.new_subscriptions, figures.renewals, figures.refunds, payers)
        in_billionths = (*(amount * NANOSTARS for amount in amounts), *costs, figures.left_nanostars)
        return (*(self._written(each) for each in in_billionths), *map(str, counts))

    def _written(self, billionths: int) -> str:
        whole, rest = divmod(abs(billionths), NANOSTARS)
        sign = "-" if billionths < 0 else ""
        decimals = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{sign}{in_major(whole, self._currency):,}{decimals}"


def _aligned(rows: Sequence[Row], *, names: int) -> Iterator[str]:
    """Yield a report's rows as aligned lines: the first `names` columns hold names, the others numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            cell.ljust(width) if at < names else cell.rjust(width) for at, (cell, width) in enumerate(cells)
        )


def _write_chart(file: Path, svg: str, *, has_words: bool) -> None:
    if file.suffix.lower() == _SVG:
        with written(file) as target:
            target.write(svg)
        return
    picture = to_png(svg)
    with written_bytes(file) as target:
        target.write(picture)
    if not has_words:
        typer.echo(
            f"{file} has no words, for this machine has none of the fonts: apt install fonts-dejavu-core", err=True
        )


def _write_csv(target: TextIO, report: Report) -> None:
    writer = csv.writer(target)
    writer.writerow(CSV_FIELDS)
    for step in report.steps:
        for line in step.lines:
            figures = line.figures
            writer.writerow(
                (
                    step.span.first,
                    step.span.last,
                    *map(no_formula, line.source),
                    figures.revenue,
                    figures.renewal_revenue,
                    figures.given_back,
                    figures.net,
                    figures.purchases,
                    figures.new_subscriptions,
                    figures.renewals,
                    figures.refunds,
                    line.payers,
                    stars(figures.commission_nanostars),
                    stars(figures.costs_nanostars),
                    stars(figures.left_nanostars),
                )
            )

"""Measures a report over all the payments that a rebuild has left."""

from datetime import timedelta
from time import perf_counter

from bench.ledger import FIRST_DAY
from bench.measurements import Figure
from db.engine import Database
from payments.reports.reader import read_report
from payments.reports.spans import Span, Step

_DAYS = 90


async def measure(engine: str, database: Database) -> list[Figure]:
    """Measure a report of three months, for each kind of step."""
    first = FIRST_DAY.date()
    span = Span(first, first + timedelta(days=_DAYS - 1))
    figures = []
    for step in Step:
        began = perf_counter()
        report = await read_report(database, span, step)
        seconds = perf_counter() - began
        charges = sum(report.whole.figures(currency).charges for currency in report.whole.currencies)
        what = f"a report of {charges:,} payments by {step}"
        figures.append(Figure(what, engine, seconds * 1000, "ms", note=f"{len(report.steps)} steps"))
    return figures

"""Reads a report from the database, by two short statements for each step of a span and two for the whole."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, CompoundSelect, Select, case, func, literal, select, union_all
from sqlalchemy.exc import OperationalError

from db.engine import Database
from payments.audit.shown import bounded
from payments.reports.costs import select_commissions, select_other_costs
from payments.reports.counted import CHARGES, Kind, select_counted_rows
from payments.reports.figures import Figures, Line, Report, ReportData, Source
from payments.reports.spans import Span, Step, divide

_Add = Callable[[ColumnElement[int]], ColumnElement[int]]
_OVERFLOW: Final = "integer overflow"
_WHOLE_CURRENCY: Final = None
"""Stands in place of channel and plan in the row of a whole currency."""
_COUNTED: Final = 7
"""The number of fields of Figures that come from `stripe_events`; they are the first."""


async def read_report(database: Database, span: Span, step: Step) -> Report:
    """Read a report: the figures of a span and of its steps. Raises SpanError for too many steps.

    Each step has a transaction of its own.
    """
    # Without MATERIALIZED the database would judge every row again for each of its sums.
    rows = select_counted_rows(is_sqlite=database.is_sqlite).cte("counted").prefix_with("MATERIALIZED")
    queries = _ReportQueries(
        union_all(_by_source(rows, func.sum), _by_currency(rows)),
        union_all(_by_source(rows, func.total), _by_currency(rows)),
        union_all(select_commissions(is_sqlite=database.is_sqlite), select_other_costs()),
    )
    steps = tuple([await _read_span(database, queries, each) for each in divide(span, step)])
    return Report(steps, _sum_of_steps(await _read_span(database, queries, span), steps))


@dataclass(frozen=True, slots=True)
class _ReportQueries:
    money: CompoundSelect[Any]
    roughly: CompoundSelect[Any]
    """The same sums in floating point: SQLite adds up in 64 bits, and rows of other services may hold more."""
    costs: CompoundSelect[Any]


async def _read_span(database: Database, queries: _ReportQueries, span: Span) -> ReportData:
    """Read a report's lines and numbers of payers for one span."""
    within = {"since": span.since, "until": span.until}
    async with database.reading() as session:
        try:
            found = (await session.execute(queries.money, within)).all()
        except OperationalError as error:
            # SQLite's sum() fails on an overflow, total() does not (sqlite.org/lang_aggfunc).
            if _OVERFLOW not in str(error.orig):
                raise
            found = (await session.execute(queries.roughly, within)).all()
        costs = (await session.execute(queries.costs, within)).all()
    figures: defaultdict[Source, Figures] = defaultdict(Figures)
    payers: defaultdict[Source, int] = defaultdict(int)
    for row in found:
        if row.channel is not _WHOLE_CURRENCY:
            figures[Source(*row[:3])] += Figures(*map(bounded, row[4:]))
            payers[Source(*row[:3])] = row.payers
    for row in costs:
        said = Figures(commission_nanostars=int(row.commission or 0), costs_nanostars=int(row.costs or 0))
        figures[Source(*row[:3])] += said
    lines = tuple(Line(source, figures[source], payers[source]) for source in sorted(figures))
    return ReportData(span, lines, {row.currency: row.payers for row in found if row.channel is _WHOLE_CURRENCY})


def _by_source(rows: CTE, add: _Add) -> Select[Any]:
    """Select a report's figures and numbers of payers by source."""
    source = (rows.c.currency, rows.c.channel, rows.c.plan)
    # The order is that of the fields of Figures.
    figures = (
        _sum_of_kinds(rows, add, *CHARGES),
        _sum_of_kinds(rows, add, Kind.RENEWAL),
        _sum_of_kinds(rows, add, Kind.REFUND) - _sum_of_kinds(rows, add, Kind.RETURN),
        _count_of_kind(rows, Kind.PURCHASE),
        _count_of_kind(rows, Kind.NEW_SUBSCRIPTION),
        _count_of_kind(rows, Kind.RENEWAL),
        _count_of_kind(rows, Kind.REFUND) - _count_of_kind(rows, Kind.RETURN),
    )
    return select(*source, _count_payers(rows), *figures).group_by(*source)


def _by_currency(rows: CTE) -> Select[Any]:
    """Select a report's numbers of payers by currency, in the same columns as the figures by source."""
    nothing = [literal(0)] * _COUNTED
    return select(
        rows.c.currency, literal(_WHOLE_CURRENCY), literal(_WHOLE_CURRENCY), _count_payers(rows), *nothing
    ).group_by(rows.c.currency)


def _sum_of_kinds(rows: CTE, add: _Add, *kinds: Kind) -> ColumnElement[int]:
    """Return the sum of the amounts of these kinds among a report's counted rows."""
    return add(case((rows.c.kind.in_(kinds), rows.c.amount), else_=0))


def _count_of_kind(rows: CTE, kind: Kind) -> ColumnElement[int]:
    """Return the number of rows of a kind among a report's counted rows."""
    return func.count(case((rows.c.kind == kind, 1)))


def _count_payers(rows: CTE) -> ColumnElement[int]:
    """Return the number of users who paid among a report's counted rows."""
    return func.count(case((rows.c.kind.in_(CHARGES), rows.c.user_id)).distinct()).label("payers")


def _sum_of_steps(whole: ReportData, steps: tuple[ReportData, ...]) -> ReportData:
    """Replace the lines of a report's whole by the sums of its steps.

    The two could differ otherwise, because a payment may come between two reads.
    """
    sums: defaultdict[Source, Figures] = defaultdict(Figures)
    for step in steps:
        for line in step.lines:
            sums[line.source] += line.figures
    payers = {line.source: line.payers for line in whole.lines}
    return replace(whole, lines=tuple(Line(source, sums[source], payers.get(source, 0)) for source in sorted(sums)))

"""Reads what a report says: two short statements for each step of a span, and two for all of it."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, CompoundSelect, Select, case, func, literal, select, union_all
from sqlalchemy.exc import OperationalError

from db.engine import Database
from payments.audit.shown import bounded
from payments.reports.costs import commissions, other_costs
from payments.reports.counted import CHARGES, Kind, counted
from payments.reports.figures import Figures, Line, Report, ReportData, Source
from payments.reports.spans import Span, Step, cut

_Add = Callable[[ColumnElement[int]], ColumnElement[int]]
_OVERFLOW: Final = "integer overflow"
_ALL: Final = None
"""Stands for the channel and the plan in what a currency comes to."""
_COUNTED: Final = 7
"""The fields of Figures that come of `stripe_events`: the first of them."""


async def read_report(database: Database, span: Span, step: Step) -> Report:
    """Read a span and its steps. No transaction is open between two of them. Raises SpanError for too many steps."""
    # Not materialized, every row would be judged anew for each of its sums.
    rows = counted(is_sqlite=database.is_sqlite).cte("counted").prefix_with("MATERIALIZED")
    queries = _Queries(
        union_all(_by_source(rows, func.sum), _by_currency(rows)),
        union_all(_by_source(rows, func.total), _by_currency(rows)),
        union_all(commissions(is_sqlite=database.is_sqlite), other_costs()),
    )
    steps = tuple([await _read(database, queries, each) for each in cut(span, step)])
    return Report(steps, _agreeing(await _read(database, queries, span), steps))


@dataclass(frozen=True, slots=True)
class _Queries:
    money: CompoundSelect[Any]
    roughly: CompoundSelect[Any]
    """The same in floating point: SQLite adds up in 64 bits, and rows of other services may hold more."""
    costs: CompoundSelect[Any]


async def _read(database: Database, queries: _Queries, span: Span) -> ReportData:
    within = {"since": span.since, "until": span.until}
    async with database.reading() as session:
        try:
            found = (await session.execute(queries.money, within)).all()
        except OperationalError as error:
            # sqlite.org/lang_aggfunc, sum and total.
            if _OVERFLOW not in str(error.orig):
                raise
            found = (await session.execute(queries.roughly, within)).all()
        costs = (await session.execute(queries.costs, within)).all()
    figures: defaultdict[Source, Figures] = defaultdict(Figures)
    payers: defaultdict[Source, int] = defaultdict(int)
    for row in found:
        if row.channel is not _ALL:
            figures[Source(*row[:3])] += Figures(*map(bounded, row[4:]))
            payers[Source(*row[:3])] = row.payers
    for row in costs:
        said = Figures(commission_nanostars=int(row.commission or 0), costs_nanostars=int(row.costs or 0))
        figures[Source(*row[:3])] += said
    lines = tuple(Line(source, figures[source], payers[source]) for source in sorted(figures))
    return ReportData(span, lines, {row.currency: row.payers for row in found if row.channel is _ALL})


def _by_source(rows: CTE, add: _Add) -> Select[Any]:
    source = (rows.c.currency, rows.c.channel, rows.c.plan)
    # In the order of the fields of Figures.
    figures = (
        _amount(rows, add, *CHARGES),
        _amount(rows, add, Kind.RENEWAL),
        _amount(rows, add, Kind.REFUND) - _amount(rows, add, Kind.RETURN),
        _count(rows, Kind.PURCHASE),
        _count(rows, Kind.NEW_SUBSCRIPTION),
        _count(rows, Kind.RENEWAL),
        _count(rows, Kind.REFUND) - _count(rows, Kind.RETURN),
    )
    return select(*source, _payers(rows), *figures).group_by(*source)


def _by_currency(rows: CTE) -> Select[Any]:
    nothing = [literal(0)] * _COUNTED
    return select(rows.c.currency, literal(_ALL), literal(_ALL), _payers(rows), *nothing).group_by(rows.c.currency)


def _amount(rows: CTE, add: _Add, *kinds: Kind) -> ColumnElement[int]:
    return add(case((rows.c.kind.in_(kinds), rows.c.amount), else_=0))


def _count(rows: CTE, kind: Kind) -> ColumnElement[int]:
    return func.count(case((rows.c.kind == kind, 1)))


def _payers(rows: CTE) -> ColumnElement[int]:
    return func.count(case((rows.c.kind.in_(CHARGES), rows.c.user_id)).distinct()).label("payers")


def _agreeing(whole: ReportData, steps: tuple[ReportData, ...]) -> ReportData:
    """Let a span be the sum of its steps, also when a payment came in between two statements."""
    sums: defaultdict[Source, Figures] = defaultdict(Figures)
    for step in steps:
        for line in step.lines:
            sums[line.source] += line.figures
    payers = {line.source: line.payers for line in whole.lines}
    return replace(whole, lines=tuple(Line(source, sums[source], payers.get(source, 0)) for source in sorted(sums)))

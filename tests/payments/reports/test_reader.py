import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from db.engine import Database
from payments.methods import METHODS, REFUND_ENDINGS, RETURN_ENDING
from payments.reports.counted import FAILED_ENDING
from payments.reports.figures import ReportData
from payments.reports.reader import read_report
from payments.reports.spans import Span, Step
from tests.payments.reports.report_rows import DAYS, EVERY_ROW, Counted, Drawn, counted, lines_of, rows, write

pytestmark = pytest.mark.engines("sqlite", "postgresql")

_EXAMPLES: Final = itertools.count()
_LAST: Final = timedelta(days=DAYS - 1)


def _within(reading: ReportData, counts: list[Counted], first: datetime) -> list[Counted]:
    return [each for each in counts if reading.span.since <= first + each.at < reading.span.until]


@pytest.mark.criterion("N1")
@pytest.mark.criterion("N4")
@example(drawn=EVERY_ROW, step=Step.DAY, cut_days=0).via("every row that there can be")
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=rows, step=st.sampled_from(Step), cut_days=st.integers(0, 40))
async def test_a_report_says_what_a_plain_loop_over_the_rows_finds(
    database: Database, drawn: list[Drawn], step: Step, cut_days: int
) -> None:
    # Recorded rows stay, so each example has its own days.
    number = next(_EXAMPLES)
    first = datetime(2020, 1, 1, tzinfo=UTC) + number * timedelta(days=DAYS)
    async with database.transaction() as session:
        await write(session, drawn, first, number)
    counts = list(counted(drawn))
    span = Span(first.date() + timedelta(days=cut_days), (first + _LAST).date())

    report = await read_report(database, span, step)

    for reading in (*report.steps, report.whole):
        found = _within(reading, counts, first)
        assert {line.source: (line.figures, line.payers) for line in reading.lines} == lines_of(found)
        payers = {(each.source.currency, each.user) for each in found if each.is_charge}
        for currency in report.whole.currencies:
            assert reading.payers.get(currency, 0) == sum(key[0] == currency for key in payers)


def test_the_types_that_the_desk_writes_are_known_by_their_ends() -> None:
    for method in METHODS.values():
        assert method.refund_type.endswith(REFUND_ENDINGS)
        assert method.dispute_type.endswith(REFUND_ENDINGS)
        assert method.refund_failed_type.endswith(RETURN_ENDING)
        assert not method.charge_type.endswith((*REFUND_ENDINGS, FAILED_ENDING))

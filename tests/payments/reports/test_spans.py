import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.reports.spans import STEPS_MAX, Span, SpanError, Step, asked_span, divide, latest

_days = st.dates(date(2000, 1, 1), date(2100, 1, 1))


@given(first=_days, length=st.integers(0, STEPS_MAX - 1), step=st.sampled_from(Step))
def test_the_steps_of_a_span_are_all_of_its_days_once(first: date, length: int, step: Step) -> None:
    span = Span(first, first + timedelta(days=length))
    steps = divide(span, step)
    assert (steps[0].since, steps[-1].until) == (span.since, span.until)
    for earlier, later in itertools.pairwise(steps):
        assert earlier.until == later.since
        assert later.first == step.first_day(later.first), "only the first and the last step are cut"
    assert {step.first_day(day) for each in steps for day in (each.first, each.last)} == {
        step.first_day(each.first) for each in steps
    }


@pytest.mark.parametrize(
    ("step", "first"), [(Step.DAY, date(2026, 3, 2)), (Step.WEEK, date(2026, 2, 16)), (Step.MONTH, date(2026, 1, 1))]
)
def test_the_latest_steps_end_with_the_day_that_is_said(step: Step, first: date) -> None:
    day = date(2026, 3, 4)
    assert latest(step, 3, day) == Span(first, day)
    assert len(divide(latest(step, 3, day), step)) == 3


def test_a_day_is_one_of_utc() -> None:
    span = Span(date(2026, 12, 31), date(2026, 12, 31))
    assert (span.since, span.until) == (datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("first", "last"), [(date(2026, 1, 2), date(2026, 1, 1)), (date(9999, 1, 1), date(9999, 12, 31))]
)
def test_days_that_there_are_not_are_refused(first: date, last: date) -> None:
    with pytest.raises(SpanError):
        Span(first, last)


def test_steps_have_a_bound() -> None:
    first = date(2026, 1, 1)
    assert len(divide(Span(first, first + timedelta(days=STEPS_MAX - 1)), Step.DAY)) == STEPS_MAX
    with pytest.raises(SpanError, match="more than 400 steps of a day"):
        divide(Span(first, first + timedelta(days=STEPS_MAX)), Step.DAY)


@pytest.mark.parametrize(
    ("step", "first"),
    [(Step.DAY, date(2026, 2, 3)), (Step.WEEK, date(2025, 12, 15)), (Step.MONTH, date(2025, 4, 1))],
)
def test_report_without_a_start_has_the_latest_steps(step: Step, first: date) -> None:
    today = date(2026, 3, 4)
    assert asked_span(step, None, None, today) == Span(first, today)
    assert asked_span(step, None, today, date(2026, 5, 6)) == Span(first, today)

"""The pure rule of late settlement: the part of the paid time that is given back."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.settlement.lateness import DELAY_DAYS_MAX, LATE_HOURS, delay_days
from tests.support.clock import START
from tests.support.money import order

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
_spans = st.integers(0, 400 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("code", "before", "parked", "days"),
    [
        ("month", HOUR, None, 0),
        ("month", HOUR + timedelta(seconds=1), None, 1),
        ("month", 7 * DAY, None, 7),
        ("month", 7 * DAY + timedelta(seconds=1), None, 0),
        ("month", timedelta(), 7 * DAY + timedelta(minutes=1), 8),
        ("month", timedelta(), 90 * DAY, 90),
        ("month", 2 * DAY, 90 * DAY, 92),
        ("month", 60 * DAY, 10 * DAY, 10),
        ("month", 30 * HOUR / 60, 40 * HOUR / 60, 1),
        ("auto", 2 * DAY, None, 0),
        ("auto", 2 * DAY, 10 * DAY, 10),
        ("life", 2 * DAY, 10 * DAY, 0),
    ],
)
def test_given_back_days_of_worked_examples(code: str, before: timedelta, parked: timedelta | None, days: int) -> None:
    parked_at = None if parked is None else START + before
    now = START + before + (parked or timedelta())
    assert delay_days(order(code), START, parked_at, now) == days


@given(before=_spans, parked=_spans)
def test_the_time_in_which_it_was_parked_is_given_back_whole(before: timedelta, parked: timedelta) -> None:
    days = delay_days(order("month"), START, START + before, START + before + parked)
    if parked > LATE_HOURS * HOUR:
        assert days * DAY >= parked
    assert days * DAY <= before + parked + DAY


@given(before=_spans)
def test_unparked_delay_is_given_back_within_a_week(before: timedelta) -> None:
    days = delay_days(order("month"), START, None, START + before)
    assert (days > 0) == (LATE_HOURS * HOUR < before <= DELAY_DAYS_MAX * DAY)


@given(ahead=_spans, parked=st.one_of(st.none(), _spans))
def test_a_clock_that_is_behind_gives_nothing_away(ahead: timedelta, parked: timedelta | None) -> None:
    parked_at = None if parked is None else START - ahead - parked
    assert delay_days(order("month"), START, parked_at, START - ahead) == 0

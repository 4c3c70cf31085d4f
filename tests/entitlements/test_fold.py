"""The laws of the fold, and worked examples; hours since MIDNIGHT stand for moments."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.fold import SLACK, Grant, Interval, Standing, coverage, fold_grants, holds, open_now, opens

pytestmark = pytest.mark.criterion("I2")

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


def hour(hours: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hours)


def day(days: float) -> datetime:
    return MIDNIGHT + timedelta(days=days)


def one_time(granted_at: datetime, days: int, revoked_at: datetime | None = None) -> Grant:
    return Grant(granted_at=granted_at, duration_days=days, ends_at=None, revoked_at=revoked_at)


def dated(granted_at: datetime, ends_at: datetime, revoked_at: datetime | None = None) -> Grant:
    return Grant(granted_at=granted_at, duration_days=None, ends_at=ends_at, revoked_at=revoked_at)


def life(granted_at: datetime, revoked_at: datetime | None = None) -> Grant:
    return Grant(granted_at=granted_at, duration_days=None, ends_at=None, revoked_at=revoked_at)


moments = st.integers(0, 240).map(hour)
revocations = st.one_of(st.none(), st.none(), moments)
one_times = st.builds(one_time, moments, st.integers(1, 3), revocations)
dateds = st.builds(
    lambda granted_at, hours, revoked_at: dated(granted_at, granted_at + timedelta(hours=hours), revoked_at),
    moments,
    st.integers(-3, 100),
    revocations,
)
limited = st.lists(st.one_of(one_times, dateds), max_size=7)
anything = st.lists(st.one_of(one_times, dateds, one_times, dateds, st.builds(life, moments, revocations)), max_size=7)


def reference(grants: list[Grant]) -> tuple[Interval, ...]:
    """Walk through the hours, spending one-time days from the oldest grant on wherever nothing dated is open."""
    unrevoked = sorted((g for g in grants if g.revoked_at is None), key=lambda g: g.granted_at)
    left_hours = [24 * (grant.duration_days or 0) for grant in unrevoked]
    horizon = 240 + 100 + 24 * 3 * 7 + 7  # the last start, the longest dated grant, all days, every slack
    open_hours = set()
    for now in range(horizon + 1):
        open_by_itself = False
        oldest_with_days = None
        for index, grant in enumerate(unrevoked):
            if grant.granted_at > hour(now):
                break
            if grant.ends_at is not None:
                open_by_itself |= grant.ends_at > grant.granted_at and hour(now) < grant.ends_at + SLACK
            elif grant.duration_days is None:
                open_by_itself = True
            elif left_hours[index] and oldest_with_days is None:
                oldest_with_days = index
        if oldest_with_days is not None and not open_by_itself:
            left_hours[oldest_with_days] -= 1
        if open_by_itself or oldest_with_days is not None:
            open_hours.add(now)
    starts = [now for now in sorted(open_hours) if now - 1 not in open_hours]
    ends = [now + 1 for now in sorted(open_hours) if now + 1 not in open_hours]
    return tuple(
        Interval(hour(start), None if end > horizon else hour(end)) for start, end in zip(starts, ends, strict=True)
    )


def covered(grants: list[Grant]) -> timedelta:
    """How much time limited grants cover."""
    return sum((i.end - i.start for i in coverage(grants) if i.end is not None), timedelta())


@given(anything)
def test_an_hour_by_hour_walk_finds_the_same_coverage(grants: list[Grant]) -> None:
    assert coverage(grants) == reference(grants)


@given(anything.flatmap(lambda grants: st.tuples(st.just(grants), st.permutations(grants))))
def test_the_order_of_arrival_does_not_matter(orders: tuple[list[Grant], list[Grant]]) -> None:
    first, second = orders
    assert coverage(first) == coverage(second)
    if first:
        assert fold_grants(first) == fold_grants(second)


@given(anything)
@pytest.mark.criterion("I4")
def test_a_revoked_grant_counts_for_nothing(grants: list[Grant]) -> None:
    assert coverage(grants) == coverage([grant for grant in grants if grant.revoked_at is None])


@given(anything, moments)
def test_lifetime_grant_absorbs_all_others(grants: list[Grant], bought_at: datetime) -> None:
    with_life = [*grants, life(bought_at)]
    assert fold_grants(with_life) == Standing(expires_at=None, revoked_at=None)
    assert coverage(with_life)[-1].start <= bought_at


@given(limited)
def test_one_time_days_run_only_outside_dated_grants(grants: list[Grant]) -> None:
    unrevoked = [grant for grant in grants if grant.revoked_at is None]
    days = sum(grant.duration_days for grant in unrevoked if grant.duration_days is not None)
    dated_alone = covered([grant for grant in unrevoked if grant.duration_days is None])
    assert covered(grants) == dated_alone + timedelta(days=days)


@given(anything)
def test_folding_what_was_folded_changes_nothing(grants: list[Grant]) -> None:
    once = coverage(grants)
    as_grants = [life(i.start) if i.end is None else dated(i.start, i.end - SLACK) for i in once]
    assert coverage(as_grants) == once


@given(anything, anything)
def test_further_grants_never_shorten_access_at_any_moment(grants: list[Grant], further: list[Grant]) -> None:
    widened = coverage(grants + further)
    for interval in coverage(grants):
        assert any(
            wide.start <= interval.start
            and (wide.end is None or (interval.end is not None and interval.end <= wide.end))
            for wide in widened
        )


@given(anything, moments)
def test_a_grant_changes_no_moment_before_it_is_given(grants: list[Grant], at: datetime) -> None:
    assert holds(grants, at) == holds([grant for grant in grants if grant.granted_at <= at], at)


@given(anything.filter(bool), st.integers(0, 900))
def test_the_standing_agrees_with_the_grants_at_every_moment_since_the_last_one(
    grants: list[Grant], hours: int
) -> None:
    standing = fold_grants(grants)
    last_granted_at = max(grant.granted_at for grant in grants)
    end = standing.expires_at or LAST_MOMENT
    for moment in (last_granted_at, last_granted_at + timedelta(hours=hours), end - INSTANT, end, LAST_MOMENT):
        at = max(moment, last_granted_at)
        open_by_standing = standing.revoked_at is None and (standing.expires_at is None or at < standing.expires_at)
        assert holds(grants, at) == open_by_standing


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        pytest.param([one_time(day(0), 30), one_time(day(10), 30)], [(0, 60)], id="30 and 30 days are 60"),
        pytest.param([one_time(day(0), 30)] * 2, [(0, 60)], id="two at the same instant are 60 days too"),
        pytest.param([one_time(day(0), 30), one_time(day(30), 30)], [(0, 60)], id="touching is one interval"),
        pytest.param([one_time(day(0), 1), one_time(day(5), 1)], [(0, 1), (5, 6)], id="bought after a gap"),
        pytest.param(
            [dated(day(0), day(30) - SLACK), one_time(day(10), 5)], [(0, 35)], id="days bought in a subscription wait"
        ),
        pytest.param(
            [one_time(day(0), 10), dated(day(4), day(34) - SLACK)], [(0, 40)], id="a subscription suspends days"
        ),
        pytest.param(
            [one_time(day(0), 10), dated(day(2), day(4) - SLACK), dated(day(8), day(11) - SLACK)],
            [(0, 15)],
            id="days fill the gap between two subscriptions and go on after the second",
        ),
        pytest.param(
            [dated(day(0), day(30) - SLACK), dated(day(10), day(40) - SLACK), one_time(day(0), 1)],
            [(0, 41)],
            id="overlapping subscriptions",
        ),
        pytest.param(
            [dated(day(0), day(30)), dated(day(30) + SLACK / 2, day(60) - SLACK)],
            [(0, 60)],
            id="renewed 30 minutes late",
        ),
        pytest.param(
            [dated(day(0), day(30) - SLACK), dated(day(31), day(60) - SLACK)],
            [(0, 30), (31, 60)],
            id="renewed a day after the slack",
        ),
        pytest.param(
            [dated(day(0), day(30)), dated(day(30), day(33) - SLACK), one_time(day(12), 2)],
            [(0, 35)],
            id="grace comes before waiting days",
        ),
        pytest.param([one_time(day(0), 10), life(day(4))], [(0, None)], id="for life while days run"),
        pytest.param([one_time(day(0), 2), life(day(4))], [(0, 2), (4, None)], id="for life after days"),
        pytest.param([dated(day(3), day(3)), dated(day(3), day(3) - SLACK / 2)], [], id="a dated grant of no time"),
        pytest.param([one_time(day(0), 30), life(day(1), revoked_at=day(2))], [(0, 30)], id="a revoked life"),
        pytest.param(
            [dated(day(0), day(30), revoked_at=day(20)), one_time(day(1), 5)],
            [(1, 6)],
            id="days no longer wait for a revoked subscription",
        ),
    ],
)
def test_coverage_of_worked_examples(grants: list[Grant], expected: list[tuple[float, float | None]]) -> None:
    assert coverage(grants) == tuple(Interval(day(a), None if b is None else day(b)) for a, b in expected)


@pytest.mark.criterion("I4")
def test_all_revoked_expires_at_the_last_revocation() -> None:
    grants = [one_time(day(0), 30, revoked_at=day(9)), life(day(1), revoked_at=day(7))]
    assert fold_grants(grants) == Standing(expires_at=day(9), revoked_at=day(9))


def test_a_dated_grant_of_no_time_stands_expired_and_not_revoked() -> None:
    grants = [dated(day(3), day(2)), dated(day(3), day(1)), dated(day(0), day(9), revoked_at=day(5))]
    assert fold_grants(grants) == Standing(expires_at=day(2), revoked_at=None)


def test_standing_without_grants_is_an_error() -> None:
    with pytest.raises(ValueError, match="without a grant"):
        fold_grants([])


@pytest.mark.parametrize(
    "grants",
    [
        pytest.param([one_time(day(0), 36500)] * 80, id="80 grants of 100 years"),
        pytest.param([one_time(day(0), 36500)] * 30_000, id="more days than a timedelta holds"),
        pytest.param([one_time(day(0), 2**31 - 1)], id="more days than a timedelta holds, in one grant"),
        pytest.param([dated(day(0), LAST_MOMENT)], id="the slack leads out of the calendar"),
        pytest.param([one_time(day(0), 1), dated(day(0), LAST_MOMENT - SLACK)], id="waiting days lead out of it"),
    ],
)
def test_access_beyond_the_calendar_is_lifetime(grants: list[Grant]) -> None:
    assert coverage(grants) == (Interval(day(0), None),)
    assert holds(grants, LAST_MOMENT)


def test_the_last_moment_of_the_calendar_is_still_an_end() -> None:
    assert coverage([dated(day(0), LAST_MOMENT - SLACK)]) == (Interval(day(0), LAST_MOMENT),)


@given(anything.filter(bool), moments)
def test_grant_recorded_by_a_slow_clock_is_open_by_that_clock(grants: list[Grant], recorded_at: datetime) -> None:
    late = [replace(grant, opened_at=recorded_at) if grant.granted_at > recorded_at else grant for grant in grants]
    assert coverage(late) == coverage(grants)
    begun_at = max([recorded_at, *(grant.granted_at for grant in grants if grant.revoked_at is None)])
    assert holds(late, recorded_at) == holds(grants, begun_at)


@given(anything.filter(bool), moments)
def test_open_interval_agrees_with_the_standing(grants: list[Grant], now: datetime) -> None:
    standing = fold_grants(grants)
    is_open = standing.revoked_at is None and (standing.expires_at is None or now < standing.expires_at)
    interval = open_now(grants, now)
    if coverage(grants):
        assert (interval is not None) == is_open
    assert interval is None or interval.end == standing.expires_at


@given(anything, anything, moments)
def test_grants_that_open_nothing_change_no_moment(grants: list[Grant], beside: list[Grant], at: datetime) -> None:
    both = [*grants, *beside]
    hours = (at + timedelta(hours=step) for step in range(0, 1200, 7))
    differs = any(holds(both, moment) != holds(beside, moment) for moment in hours)
    assert opens(grants, beside, at) or not differs

"""The fold of grants: a pure function from a user's grants of one entitlement type to the time that they cover.

- A dated grant covers its own time, from `granted_at` to `ends_at`, and `SLACK` more. One that ends before it begins
  covers nothing, and has no slack either.
- One-time days use up only time that no dated grant covers, end to end, never before their own `granted_at`: they wait
  while a subscription runs, whether it began before them or in their midst. A day is 24 hours.
- A grant without days and without an end is for life: it covers everything from `granted_at` on.
- A revoked grant counts for nothing, as if nobody had made it: one-time days that had waited for it count anew from
  their own `granted_at`.

So the grants' order of arrival never matters, nor does any order among equal times: days are worth the same in any
grant. A further grant never shortens access at any moment, and never changes a moment before its own `granted_at`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final

SLACK: Final = timedelta(hours=1)
"""The time by which a dated grant outlasts its end, so that a renewal that comes a little late opens no gap."""

_LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """One grant of one entitlement type to one user; all times are aware and in UTC.

    `duration_days` (above 0) is for one-time days, `ends_at` for a dated grant, neither for life, never both.
    `opened_at` is before `granted_at` where the clock that recorded the grant was behind: by that clock the grant is
    open from then on. Two equal grants are two grants, hence sequences of them and no sets.
    """

    granted_at: datetime
    duration_days: int | None
    ends_at: datetime | None
    revoked_at: datetime | None
    opened_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """The time of access from `start` up to but not including `end`; without an end: for life."""

    start: datetime
    end: datetime | None

    def holds(self, at: datetime) -> bool:
        """Tell whether a moment lies in the interval."""
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True, slots=True)
class Standing:
    """The fold of grants as the `entitlements` row has it.

    `expires_at` is None for life; `revoked_at` is set if and only if no unrevoked grant is left, and `expires_at` is
    then the same moment, so that a reader of that column alone gives no access.
    """

    expires_at: datetime | None
    revoked_at: datetime | None


def coverage(grants: Sequence[Grant]) -> tuple[Interval, ...]:
    """Fold the grants into the time that they cover: disjoint intervals in order, with a gap between any two.

    A time beyond the year 9999 is for life, because no datetime can tell the two apart.
    """
    counted = [grant for grant in grants if grant.revoked_at is None and not _ends_before_it_begins(grant)]
    if not counted:
        return ()
    counted.sort(key=attrgetter("granted_at"))
    intervals: list[Interval] = []
    # After each grant: this one and those before cover [start, end), and one-time days cover the part from dated_until
    # on. Only a grant begins an interval, so one pass over the grants sees every gap.
    start = end = dated_until = counted[0].granted_at
    for grant in counted:
        if grant.granted_at > end:
            intervals.append(Interval(start, end))
            start = end = grant.granted_at
        dated_until = max(dated_until, grant.granted_at)
        if grant.duration_days is not None:
            more = timedelta(days=min(grant.duration_days, timedelta.max.days))
        elif grant.ends_at is not None:
            more = max(grant.ends_at - dated_until + SLACK, timedelta())
        else:
            more = timedelta.max
        if more > _LAST_MOMENT - end:
            return (*intervals, Interval(start, None))
        end += more
        if grant.ends_at is not None:
            dated_until += more
    return (*intervals, Interval(start, end))


def open_now(grants: Sequence[Grant], now: datetime) -> Interval | None:
    """Return the interval of access that is open at the present, by a clock that may be behind; None: none is.

    No grant begins in the future, so the latest interval has begun, whatever the clock shows.
    """
    intervals = coverage(grants)
    if not intervals:
        return None
    latest = intervals[-1]
    return latest if latest.end is None or now < latest.end else None


def fold_grants(grants: Sequence[Grant]) -> Standing:
    """Fold grants into their standing: the end of access, or its revocation.

    From the latest `granted_at` on, access is open at a moment exactly when the standing is not revoked and does not
    expire by then: there are no later gaps, because only a grant begins an interval.

    Raises ValueError without a grant, because there is no row to write then.
    """
    if not grants:
        raise ValueError("without a grant there is no standing")
    revocations = [grant.revoked_at for grant in grants if grant.revoked_at is not None]
    if len(revocations) == len(grants):
        return Standing(expires_at=max(revocations), revoked_at=max(revocations))
    intervals = coverage(grants)
    if intervals:
        return Standing(expires_at=intervals[-1].end, revoked_at=None)
    ends = [grant.ends_at for grant in grants if grant.revoked_at is None and grant.ends_at is not None]
    return Standing(expires_at=max(ends), revoked_at=None)


def holds(grants: Sequence[Grant], at: datetime) -> bool:
    """Tell whether the grants open access at a moment, by the clock that recorded them."""
    begun = _begun_by(grants, at)
    return any(interval.holds(begun) for interval in coverage(grants))


def opens(grants: Sequence[Grant], beside: Sequence[Grant], at: datetime) -> bool:
    """Tell whether `grants` open any moment from `at` on that the grants `beside` them do not open."""
    return _from(coverage([*grants, *beside]), at) != _from(coverage(beside), at)


def _from(intervals: Sequence[Interval], at: datetime) -> list[Interval]:
    return [Interval(max(each.start, at), each.end) for each in intervals if each.end is None or each.end > at]


def _begun_by(grants: Sequence[Grant], at: datetime) -> datetime:
    """Return the moment to fold at when a slow clock shows `at`: every grant recorded by then has begun."""
    begun = [
        grant.granted_at
        for grant in grants
        if grant.opened_at is not None and grant.opened_at <= at and grant.revoked_at is None
    ]
    return max([at, *begun])


def _ends_before_it_begins(grant: Grant) -> bool:
    return grant.ends_at is not None and grant.ends_at <= grant.granted_at

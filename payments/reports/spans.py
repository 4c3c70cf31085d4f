"""Divides the span of days that a report covers into steps: days, weeks from Monday, months. All days are of UTC."""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

STEPS_MAX: Final = 400
"""A report has at most so many steps: a year of days, with room."""
YEAR_MAX: Final = 9998
"""A span ends in this year at the latest, because a last day needs a day after it."""

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(weeks=1)


class SpanError(ValueError):
    """A report cannot cover this span; the message says why in one sentence."""


class Step(enum.StrEnum):
    """The length of the steps into which a report divides its span."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date) -> date:
        """Return the first day of the step that contains `day`."""
        match self:
            case Step.DAY:
                return day
            case Step.WEEK:
                return day - _DAY * day.weekday()
            case Step.MONTH:
                return day.replace(day=1)

    def after(self, day: date) -> date:
        """Return the first day of the step after the one that contains `day`."""
        first = self.first_day(day)
        match self:
            case Step.DAY:
                return first + _DAY
            case Step.WEEK:
                return first + _WEEK
            case Step.MONTH:
                return (first + 31 * _DAY).replace(day=1)


USUAL_COUNT: Final = {Step.DAY: 30, Step.WEEK: 12, Step.MONTH: 12}
"""A report shows so many steps by default."""


@dataclass(frozen=True, slots=True)
class Span:
    """A report's days from `first` to `last`, both included. Raises SpanError for none, or for a year too far off."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise SpanError(f"{self.first} is after {self.last}")
        if self.last.year > YEAR_MAX:
            raise SpanError(f"{self.last} is too far off")

    @property
    def since(self) -> datetime:
        """The moment at which the span of days begins, aware, UTC."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        """The moment at which the span of days is over (exclusive), aware, UTC."""
        return datetime.combine(self.last + _DAY, time(), UTC)


def latest(step: Step, count: int, last: date) -> Span:
    """Return a report's span of the `count` latest steps up to the day `last`, included."""
    first = step.first_day(last)
    for _ in range(count - 1):
        first = step.first_day(first - _DAY)
    return Span(first, last)


def asked_span(step: Step, since: date | None, until: date | None, today: date) -> Span:
    """Return the days of a report, both included; without `since` the latest steps up to `until` or `today`, in UTC.

    Raises SpanError when there are no such days.
    """
    last = until or today
    try:
        return Span(since, last) if since else latest(step, USUAL_COUNT[step], last)
    except OverflowError:
        raise SpanError(f"{last} is too far off") from None


def divide(span: Span, step: Step) -> tuple[Span, ...]:
    """Divide a report's span into its steps, in order; the first and last step keep to days of the span.

    Raises SpanError for more than 400 steps.
    """
    steps: list[Span] = []
    first = span.first
    while first <= span.last:
        if len(steps) == STEPS_MAX:
            raise SpanError(f"{span.first} to {span.last} has more than {STEPS_MAX} steps of a {step}")
        after = step.after(first)
        steps.append(Span(first, min(after - _DAY, span.last)))
        first = after
    return tuple(steps)

"""The days that a report is of, and their steps: days, weeks from Monday, months. All of them are of UTC."""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

STEPS_MAX: Final = 400
"""A year of days, with room."""
YEAR_MAX: Final = 9998
"""Beyond it there is no day after the last one."""

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(weeks=1)


class SpanError(ValueError):
    """Days that no report can be made of; one sentence that says why."""


class Step(enum.StrEnum):
    """How a span is divided."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date) -> date:
        """Return the first day of the step that a day is in."""
        match self:
            case Step.DAY:
                return day
            case Step.WEEK:
                return day - _DAY * day.weekday()
            case Step.MONTH:
                return day.replace(day=1)

    def after(self, day: date) -> date:
        """Return the first day of the step after the one that a day is in."""
        first = self.first_day(day)
        match self:
            case Step.DAY:
                return first + _DAY
            case Step.WEEK:
                return first + _WEEK
            case Step.MONTH:
                return (first + 31 * _DAY).replace(day=1)


USUAL_COUNT: Final = {Step.DAY: 30, Step.WEEK: 12, Step.MONTH: 12}
"""How many steps are shown when nobody says how many."""


@dataclass(frozen=True, slots=True)
class Span:
    """Days from `first` to `last`, both included. Raises SpanError when there are none, or the year is too far off."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise SpanError(f"{self.first} is after {self.last}")
        if self.last.year > YEAR_MAX:
            raise SpanError(f"{self.last} is too far off")

    @property
    def since(self) -> datetime:
        """The moment at which it begins, aware, UTC."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        """The moment at which it is over, no longer part of it."""
        return datetime.combine(self.last + _DAY, time(), UTC)


def latest(step: Step, count: int, last: date) -> Span:
    """Return the days of the `count` latest steps up to a day, with which they end."""
    first = step.first_day(last)
    for _ in range(count - 1):
        first = step.first_day(first - _DAY)
    return Span(first, last)


def cut(span: Span, step: Step) -> tuple[Span, ...]:
    """Return the steps of a span in their order; of the first and the last, the days that are in it.

    Raises SpanError when there are more than 400.
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

"""The sandbox's time: real time plus an offset that only grows, and what is due at a moment of it."""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

MOVE_MAX = timedelta(days=3660)


@dataclass(order=True, slots=True)
class Timer:
    """Something that happens at a moment of virtual time, unless it is cancelled before."""

    when: datetime
    number: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Make it not happen."""
        self.cancelled = True


def real_now() -> datetime:
    """Give the machine's time, UTC."""
    return datetime.now(UTC)


class VirtualClock:
    """Runs with real time, and can be moved forward; timers fire in order, each at its own moment."""

    def __init__(self, real: Callable[[], datetime] = real_now) -> None:
        self.offset = timedelta()
        self.on_schedule: Callable[[], None] = lambda: None
        self._real = real
        self._moment: datetime | None = None
        self._timers: list[Timer] = []
        self._numbers = count()

    def now(self) -> datetime:
        """Give the virtual time, UTC: while a timer fires the moment it was set for, in one moment that one."""
        return self._moment or self._real() + self.offset

    def unix(self) -> int:
        """Give the virtual time as Telegram dates things: whole seconds since 1970."""
        return int(self.now().timestamp())

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """Let no time pass inside: whatever an operation dates bears the same date."""
        self._moment = self.now()
        try:
            yield
        finally:
            self._moment = None

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Timer:
        """Have `callback` called at `when`; at once, on the next look, if that has passed."""
        timer = Timer(when, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        self.on_schedule()
        return timer

    def move(self, by: timedelta) -> None:
        """Go forward; everything due on the way happens, in order, at its own moment.

        Raises ValueError for a negative step or one over ten years.
        """
        if not timedelta() <= by <= MOVE_MAX:
            raise ValueError(f"the clock goes forward, by at most {MOVE_MAX.days} days at a time")
        self.offset += by
        self._moment = None
        self.run_due()
        self.on_schedule()

    def run_due(self) -> None:
        """Let everything happen that is due by now."""
        until = self._real() + self.offset
        while self._timers and self._timers[0].when <= until:
            timer = heapq.heappop(self._timers)
            if timer.cancelled:
                continue
            self._moment = timer.when
            try:
                timer.callback()
            finally:
                self._moment = None

    def next_due(self) -> datetime | None:
        """Tell when the next timer is due, None if none is set."""
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0].when if self._timers else None

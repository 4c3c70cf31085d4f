"""The sandbox's clock: real time plus an offset that only grows, with timers."""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

MOVE_MAX = timedelta(days=3660)


@dataclass(order=True, slots=True)
class Timer:
    """A callback at a moment of virtual time, unless somebody cancels it before."""

    when: datetime
    number: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Cancel the timer."""
        self.cancelled = True


def real_now() -> datetime:
    """Return the machine's real time, UTC."""
    return datetime.now(UTC)


class VirtualClock:
    """The sandbox's clock: real time, moved forward by `move`; timers fire in order, each at its moment."""

    def __init__(self, real: Callable[[], datetime] = real_now) -> None:
        self.offset = timedelta()
        self.on_schedule: Callable[[], None] = lambda: None
        self._real = real
        self._moment: datetime | None = None
        self._timers: list[Timer] = []
        self._numbers = count()

    def now(self) -> datetime:
        """Return the virtual time, UTC; inside a timer its own moment, inside of `one_moment` that moment."""
        return self._moment or self._real() + self.offset

    def unix(self) -> int:
        """Return the virtual time as Telegram's dates: whole seconds since 1970."""
        return int(self.now().timestamp())

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """Stop the virtual time inside of a block, so that all dates of an operation are the same."""
        self._moment = self.now()
        try:
            yield
        finally:
            self._moment = None

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Timer:
        """Set a timer: call `callback` at `when`, or on the next look if that has passed."""
        timer = Timer(when, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        self.on_schedule()
        return timer

    def move(self, by: timedelta) -> None:
        """Move the virtual clock forward; timers on the way fire in order, each at its own moment.

        Raises ValueError for a negative step or one over ten years.
        """
        if not timedelta() <= by <= MOVE_MAX:
            raise ValueError(f"the clock goes forward, by at most {MOVE_MAX.days} days at a time")
        self.offset += by
        self._moment = None
        self.run_due()
        self.on_schedule()

    def run_due(self) -> None:
        """Fire all timers that are due."""
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
        """Return the moment of the next timer, None without one."""
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0].when if self._timers else None

"""The clock of Telegram's time, learned from answers and updates, because the machine's own clock may be wrong.

An answer bears a `Date` of whole seconds (RFC 9110), which lies between the call and the answer; a message that ends a
long poll bears Telegram's own. Each is a span in which Telegram's time lies, and the clock believes the span that most
of them share: one odd answer among several changes nothing, and a slow one says little. Where messages and the
machine's clock agree against the answers, a gateway has put a wrong `Date` of its own into them; messages alone prove
nothing, because Telegram may be late with them.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from bot.monitoring.call_meter import CLOCK_OFFSET_SECONDS
from db.clock import Clock

HALF_HOUR_SECONDS: Final = 1_800
SKEW_MAX: Final = timedelta(minutes=1)
"""With a larger skew the machine's clock is wrong, and the admins hear of it."""
SKEW_AT_START_MAX: Final = timedelta(days=1)
"""With a larger skew the desk does not start."""
SLOW_SECONDS: Final = 5.0
"""An answer that took longer does not count, because it tells the time too roughly."""
HELD_SECONDS: Final = 0.5
"""A poll that Telegram held for so long ended with its update, which is of this moment."""
DELIVERY_SECONDS: Final = 3.0
"""The longest way of a message before it ends a poll."""
SPANS_KEPT: Final = 5
SPANS_NEEDED: Final = 3
"""The number of spans that have to agree before one is believed."""
TOLERANCE_SECONDS: Final = 5.0
"""The distance of two readings that do not contradict each other."""


@dataclass(frozen=True, slots=True)
class Span:
    """The span in which Telegram's time lies when the steady reading is zero, in seconds since 1970."""

    low: float
    high: float


class TelegramTime:
    """A clock that gives Telegram's present: the machine's until enough answers agree.

    From then on no step of the machine's clock moves it.
    """

    def __init__(self, clock: Clock, steady: Callable[[], float] | None = None) -> None:
        """Make it; `clock` is the machine's, `steady` gives seconds that no step of it moves (None: since the boot)."""
        self._clock = clock
        self.steady = steady or _since_boot
        self._answers: deque[Span] = deque(maxlen=SPANS_KEPT)
        self._updates: deque[Span] = deque(maxlen=SPANS_KEPT)
        self._believed: float | None = None
        self.is_doubted = False
        """True if an answer contradicts the believed time, so that it is to be measured again."""

    def __call__(self) -> datetime:
        """Return Telegram's present, aware, in UTC."""
        if self._believed is None:
            return self._clock()
        return datetime.fromtimestamp(self._believed + self.steady(), UTC)

    @property
    def skew(self) -> timedelta:
        """The machine's lead over Telegram's time; zero while it is unknown."""
        return self._clock() - self()

    @property
    def trouble(self) -> str | None:
        """The error of the machine's clock, and the mend, in words; None: the clock is right, or nobody knows."""
        skew = self.skew
        return (
            f"{skew_in_words(skew)}: let it keep its time (timedatectl set-ntp true)" if abs(skew) > SKEW_MAX else None
        )

    def note_answer(self, sent: float, received: float, said_at: datetime) -> None:
        """Learn Telegram's time from the `Date` of an answer, with the steady readings before and after the call."""
        span = Span(said_at.timestamp() - received, said_at.timestamp() + 1 - sent)
        self._doubt(span)
        if received - sent <= SLOW_SECONDS:
            self._answers.append(span)
            self._judge()

    def note_update(self, sent: float, received: float, said_at: datetime) -> None:
        """Note the date of a message that came with a poll: it is Telegram's own, and no gateway's."""
        if received - sent < HELD_SECONDS:
            return
        span = Span(said_at.timestamp() - received, said_at.timestamp() + 1 + DELIVERY_SECONDS - sent)
        self._doubt(span)
        self._updates.append(span)
        self._judge()

    def _doubt(self, span: Span) -> None:
        believed = self._clock().timestamp() - self.steady() if self._believed is None else self._believed
        if not _fits(believed, span):
            self.is_doubted = True

    def _judge(self) -> None:
        machine = self._clock().timestamp() - self.steady()
        answers, updates = _shared(self._answers), _shared(self._updates)
        if answers is not None:
            # As near to the machine's clock as the answers allow, because a second's rounding is no skew.
            self._believed = min(max(machine, answers.low), answers.high)
            if updates is not None and _fits(machine, updates) and not _fits(self._believed, updates):
                self._believed = machine
        CLOCK_OFFSET_SECONDS.set(self.skew.total_seconds())


def skew_in_words(skew: timedelta) -> str:
    """Return in words how far the machine's clock is off Telegram's time."""
    seconds = round(abs(skew).total_seconds())
    if seconds > HALF_HOUR_SECONDS:
        # A slow answer of Telegram hides some seconds, and 2 h 59 min 58 s means 3 h.
        seconds = 60 * round(seconds / 60)
    units = ((seconds // 86_400, "d"), (seconds // 3_600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    length = " ".join([f"{count} {unit}" for count, unit in units if count][:2]) or "0 s"
    return f"this machine's clock is {length} {'ahead of' if skew > timedelta() else 'behind'} Telegram's"


def _shared(spans: Iterable[Span]) -> Span | None:
    """Return the span of Telegram's time that most spans share (Marzullo's algorithm); None: no more than half do.

    None as well if too few do.
    """
    edges = sorted([(span.low, 0) for span in spans] + [(span.high, 1) for span in spans])
    count = best = 0
    found: Span | None = None
    for index, (edge, is_end) in enumerate(edges):
        count += -1 if is_end else 1
        if count > best:
            best, found = count, Span(edge, edges[index + 1][0])
    return found if best >= SPANS_NEEDED and best > len(edges) / 4 else None


def _fits(moment: float, span: Span) -> bool:
    return span.low - TOLERANCE_SECONDS <= moment <= span.high + TOLERANCE_SECONDS


def _since_boot() -> float:
    # Unlike time.monotonic it counts the time in which the machine sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME)

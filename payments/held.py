"""What a loop leaves alone for a while, because it failed and its row could not even be noted on."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from db.clock import Clock
from db.errors import is_held_up

if TYPE_CHECKING:
    from loguru import Logger

HELD_SECONDS: Final = 60
HELD_MAX: Final = 1_000
"""How many are left alone at a time; what is more fails again at once."""


class Held:
    """The keys that one loop of this process leaves alone; one row must not hold up the others, nor end the loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, datetime] = {}

    def current(self) -> Collection[str]:
        """Return what is to be left alone now, and forget what is over or was held before the clock was set back."""
        now = self._clock()
        latest = now + timedelta(seconds=HELD_SECONDS)
        self._until = {key: until for key, until in self._until.items() if now < until <= latest}
        return self._until.keys()

    def add(self, key: str, what: str, error: Exception, log: "Logger") -> None:
        """Leave something alone for 60 s from now, and log why; `what` is its kind in words."""
        log.opt(exception=None if is_held_up(error) else error).error(
            "{} is left alone for {} s: {}", what, HELD_SECONDS, type(error).__name__
        )
        if len(self._until) < HELD_MAX:
            self._until[key] = self._clock() + timedelta(seconds=HELD_SECONDS)

"""How a loop shows that it goes on: systemd's watchdog asks for it (bot/monitoring/watchdog.py)."""

import time
from collections.abc import Callable


class Pulse:
    """The beat of one loop. Before its first beat, and after `rest`, a loop is not expected to beat.

    `seconds` is a clock that only goes forward, in seconds.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._silent_until: float | None = None

    def beat(self, silent_seconds: float) -> None:
        """Show that the loop goes on, and say how long it may be silent from now."""
        self._silent_until = self._seconds() + silent_seconds

    def rest(self) -> None:
        """Say that the loop has come to its end."""
        self._silent_until = None

    @property
    def is_alive(self) -> bool:
        """Whether the loop beats as it said."""
        return self._silent_until is None or self._seconds() <= self._silent_until

"""The health of the desk: starting, standing by, healthy or degraded, with each part's trouble and since when."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from db.clock import Clock

Probe = Callable[[], str | None]
"""Returns the trouble of one part of the desk, in words without secrets; None: it has none."""


class HealthState(enum.StrEnum):
    """The health of the desk as a whole."""

    STARTING = "starting"
    STANDING_BY = "standing_by"
    """Another desk is active; this one takes over when that ends."""
    HEALTHY = "healthy"
    DEGRADED = "degraded"


LOCK: Final = "lock"
"""The part that takes the desk's lock: its trouble needs a person, also before the desk runs."""
WELL: Final = frozenset({HealthState.HEALTHY, HealthState.STANDING_BY})
"""The states that need no person."""


@dataclass(frozen=True, slots=True)
class PartTrouble:
    """The trouble of a part, and the time when it was first seen."""

    why: str
    since: datetime


class Health:
    """Asks the parts of the desk for their troubles, and remembers since when each lasts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._probes: dict[str, Probe] = {}
        self._is_running = False
        self.is_standing_by: Callable[[], bool] = lambda: False
        self.about_database: Callable[[], dict[str, str]] = dict
        """Returns the server of the database and the holder of the desk's lock; for a file nothing."""
        self.troubles: dict[str, PartTrouble] = {}

    def watch(self, part: str, probe: Probe) -> None:
        """Ask a part for its trouble from now on, by its name."""
        self._probes[part] = probe

    def begin(self) -> None:
        """Note that the start is over: the desk polls and works."""
        self._is_running = True

    def note(self, part: str, why: str | None) -> None:
        """Note the trouble of a part, or its end (None)."""
        known = self.troubles.get(part)
        if why is None:
            self.troubles.pop(part, None)
        elif known is None or known.why != why:
            self.troubles[part] = PartTrouble(why, known.since if known else self._clock())

    def look(self) -> HealthState:
        """Ask every part, and return the health of the desk."""
        for part, probe in self._probes.items():
            self.note(part, probe())
        if not self._is_running:
            if LOCK in self.troubles:
                return HealthState.DEGRADED
            return HealthState.STANDING_BY if self.is_standing_by() else HealthState.STARTING
        return HealthState.DEGRADED if self.troubles else HealthState.HEALTHY

    def report(self) -> dict[str, Any]:
        """Return the health as JSON: `state`, and in `troubles` of each part `since` (ISO 8601, UTC) and `why`.

        On PostgreSQL `database` has the `server` in use and the holder of the desk's `lock`.
        """
        state = self.look()
        troubles = {
            part: {"since": each.since.isoformat(timespec="seconds"), "why": each.why}
            for part, each in self.troubles.items()
        }
        about = self.about_database()
        return {"state": state.value, "troubles": troubles} | ({"database": about} if about else {})

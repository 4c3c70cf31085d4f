"""How the desk is: starting, standing by, healthy, or degraded, and then which part, since when and why."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from db.clock import Clock

Probe = Callable[[], str | None]
"""Asks one part of the desk what keeps it from its work, in words without secrets; None: nothing."""


class HealthState(enum.StrEnum):
    """How the desk is as a whole."""

    STARTING = "starting"
    STANDING_BY = "standing_by"
    """Another desk is the active one; this one takes over when that ends."""
    HEALTHY = "healthy"
    DEGRADED = "degraded"


LOCK: Final = "lock"
"""The part that keeps the desk from being the active one: somebody is to do something, also before it runs."""
WELL: Final = frozenset({HealthState.HEALTHY, HealthState.STANDING_BY})
"""The states in which nobody has to do anything."""


@dataclass(frozen=True, slots=True)
class PartTrouble:
    """What is wrong with a part, and since when it was seen to be so."""

    why: str
    since: datetime


class Health:
    """Asks the parts of the desk, and remembers since when something is wrong."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._probes: dict[str, Probe] = {}
        self._is_running = False
        self.is_standing_by: Callable[[], bool] = lambda: False
        self.about_database: Callable[[], dict[str, str]] = dict
        """Tells where the database is and who has the desk's lock; nothing of a file."""
        self.troubles: dict[str, PartTrouble] = {}

    def watch(self, part: str, probe: Probe) -> None:
        """Ask this part from now on."""
        self._probes[part] = probe

    def begin(self) -> None:
        """Say that the start is over: the desk polls and works."""
        self._is_running = True

    def note(self, part: str, why: str | None) -> None:
        """Take down what is wrong with a part, since when it first was; None: nothing is."""
        known = self.troubles.get(part)
        if why is None:
            self.troubles.pop(part, None)
        elif known is None or known.why != why:
            self.troubles[part] = PartTrouble(why, known.since if known else self._clock())

    def look(self) -> HealthState:
        """Ask every part, and return how the desk is."""
        for part, probe in self._probes.items():
            self.note(part, probe())
        if not self._is_running:
            if LOCK in self.troubles:
                return HealthState.DEGRADED
            return HealthState.STANDING_BY if self.is_standing_by() else HealthState.STARTING
        return HealthState.DEGRADED if self.troubles else HealthState.HEALTHY

    def report(self) -> dict[str, Any]:
        """Return the state as JSON: `state`, and in `troubles` of each part `since` (ISO 8601, UTC) and `why`.

        On PostgreSQL `database` has the `server` in use and who has the `lock` of this database's desk.
        """
        state = self.look()
        troubles = {
            part: {"since": each.since.isoformat(timespec="seconds"), "why": each.why}
            for part, each in self.troubles.items()
        }
        about = self.about_database()
        return {"state": state.value, "troubles": troubles} | ({"database": about} if about else {})

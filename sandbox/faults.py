"""Faults on demand: what can go wrong between a bot and Telegram, each for so many calls."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sandbox.errors import ControlError
from sandbox.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS_MAX = 1_000


class FaultKind(StrEnum):
    """What goes wrong with a call."""

    CUT_BEFORE = "cut_before"
    """The connection is cut before anything has happened."""
    ANSWER_LOST = "answer_lost"
    """It happens, then the connection is cut instead of an answer."""
    RETRY_AFTER = "retry_after"
    """429, nothing happens; `retry_after_seconds`."""
    MIGRATED = "migrated"
    """400, nothing happens: the group is now the supergroup `migrate_to_chat_id`."""
    SERVER_ERROR = "server_error"
    """5xx, nothing happens; `status`."""
    DELAY = "delay"
    """`delay_seconds` of real time before anything happens."""
    HOLD = "hold"
    """Nothing happens until the faults are released."""


@dataclass(slots=True)
class Fault:
    """One fault of a method ("*" is any); `count` calls are left to it."""

    kind: FaultKind
    method: str
    count: int = 1
    retry_after_seconds: int = 1
    status: int = 502
    delay_seconds: float = 0.0
    migrate_to_chat_id: int = 0


@dataclass(slots=True)
class UpdateFault:
    """The next `count` updates of a kind are lost, or come twice under two update ids.

    A kind is a field of Update, or of its message (`successful_payment`); "*" is any.
    """

    dropped: bool
    kind: str
    count: int = 1


class Faults:
    """What is set to go wrong; an order of faults is worked off first to last."""

    def __init__(self, feed: Feed) -> None:
        self.calls: list[Fault] = []
        self.updates: list[UpdateFault] = []
        self.away = False
        self.on_away: Callable[[], None] = lambda: None
        self.held = 0
        self.releases = 0
        self._feed = feed

    def add(
        self,
        *,
        kind: FaultKind,
        method: str = "*",
        count: int = 1,
        retry_after_seconds: int = 1,
        status: int = 502,
        delay_seconds: float = 0.0,
        migrate_to_chat_id: int = 0,
    ) -> list[Fault]:
        """Set a fault for the next `count` calls of a method, behind those already set."""
        if len(self.calls) >= FAULTS_MAX:
            raise ControlError(f"{FAULTS_MAX} faults are set already")
        self.calls.append(Fault(kind, method, count, retry_after_seconds, status, delay_seconds, migrate_to_chat_id))
        self._feed.publish("faults")
        return self.calls

    def lose_updates(self, *, count: int = 1, kind: str = "*") -> None:
        """Drop the next updates of a kind, as Telegram does with what is older than a day."""
        self.updates.append(UpdateFault(dropped=True, kind=kind, count=count))
        self._feed.publish("faults")

    def double_updates(self, *, count: int = 1, kind: str = "*") -> None:
        """Deliver the next updates of a kind twice."""
        self.updates.append(UpdateFault(dropped=False, kind=kind, count=count))
        self._feed.publish("faults")

    def remove(self, *, kind: FaultKind, method: str = "*") -> None:
        """Take the faults of a kind and a method back."""
        self.calls = [fault for fault in self.calls if (fault.kind, fault.method) != (kind, method)]
        self._feed.publish("faults")

    def spare_updates(self, *, dropped: bool, kind: str = "*") -> None:
        """Take back what was to be dropped (`dropped`), or to come twice."""
        self.updates = [fault for fault in self.updates if (fault.dropped, fault.kind) != (dropped, kind)]
        self._feed.publish("faults")

    def set_away(self, *, away: bool) -> None:
        """Make Telegram unreachable for the bot, or reachable again."""
        self.away = away
        self.on_away()
        self._feed.publish("faults", away=away)

    def release_holds(self) -> None:
        """Let the calls that are held go on."""
        self.releases += 1
        self._feed.publish("faults")

    def clear(self) -> None:
        """Set everything right again, and let held calls go on."""
        self.calls.clear()
        self.updates.clear()
        self.away = False
        self.release_holds()

    def take_call(self, method: str) -> Fault | None:
        """Use up one count of the first fault that a call of `method` meets."""
        fault = next((fault for fault in self.calls if fault.method.lower() in ("*", method)), None)
        if fault is not None:
            fault.count -= 1
            if not fault.count:
                self.calls.remove(fault)
        return fault

    def take_update(self, kinds: set[str]) -> UpdateFault | None:
        """Use up one count of the first fault that an update meets, known by any of its kinds."""
        fault = next((fault for fault in self.updates if fault.kind == "*" or fault.kind in kinds), None)
        if fault is not None:
            fault.count -= 1
            if not fault.count:
                self.updates.remove(fault)
        return fault

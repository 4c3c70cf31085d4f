"""Faults between a bot and Telegram, each set for a number of calls or updates."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sandbox.errors import ControlError
from sandbox.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS_MAX = 1_000


class FaultKind(StrEnum):
    """A kind of fault of a Bot API call."""

    CUT_BEFORE = "cut_before"
    """The connection is cut before the call has an effect."""
    ANSWER_LOST = "answer_lost"
    """The call has its effect, then the connection is cut instead of an answer."""
    RETRY_AFTER = "retry_after"
    """429 without an effect; `retry_after_seconds`."""
    MIGRATED = "migrated"
    """400 without an effect: the group is now the supergroup `migrate_to_chat_id`."""
    SERVER_ERROR = "server_error"
    """5xx without an effect; `status`."""
    DELAY = "delay"
    """`delay_seconds` of real time before the call has its effect."""
    HOLD = "hold"
    """The call waits until the faults are released."""


@dataclass(slots=True)
class Fault:
    """One fault of a Bot API method ("*" is any); `count` calls are left to it."""

    kind: FaultKind
    method: str
    count: int = 1
    retry_after_seconds: int = 1
    status: int = 502
    delay_seconds: float = 0.0
    migrate_to_chat_id: int = 0


@dataclass(slots=True)
class UpdateFault:
    """A fault of updates: Telegram loses the next `count` of a kind, or sends each under two update ids.

    A kind is a field of Update, or of its message (`successful_payment`); "*" is any.
    """

    dropped: bool
    kind: str
    count: int = 1


class Faults:
    """All faults that are set; faults of one method apply first to last."""

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
        """Set a fault for the next `count` calls of a method, behind the faults that are already set."""
        if len(self.calls) >= FAULTS_MAX:
            raise ControlError(f"{FAULTS_MAX} faults are set already")
        self.calls.append(Fault(kind, method, count, retry_after_seconds, status, delay_seconds, migrate_to_chat_id))
        self._feed.publish("faults")
        return self.calls

    def lose_updates(self, *, count: int = 1, kind: str = "*") -> None:
        """Set a fault that drops the next updates of a kind, as Telegram drops updates older than a day."""
        self.updates.append(UpdateFault(dropped=True, kind=kind, count=count))
        self._feed.publish("faults")

    def double_updates(self, *, count: int = 1, kind: str = "*") -> None:
        """Set a fault that delivers the next updates of a kind twice."""
        self.updates.append(UpdateFault(dropped=False, kind=kind, count=count))
        self._feed.publish("faults")

    def remove(self, *, kind: FaultKind, method: str = "*") -> None:
        """Remove the faults of a kind and a method."""
        self.calls = [fault for fault in self.calls if (fault.kind, fault.method) != (kind, method)]
        self._feed.publish("faults")

    def spare_updates(self, *, dropped: bool, kind: str = "*") -> None:
        """Remove the faults that drop updates (`dropped`), or that deliver them twice."""
        self.updates = [fault for fault in self.updates if (fault.dropped, fault.kind) != (dropped, kind)]
        self._feed.publish("faults")

    def set_away(self, *, away: bool) -> None:
        """Make Telegram unreachable for the bot, or reachable again."""
        self.away = away
        self.on_away()
        self._feed.publish("faults", away=away)

    def release_holds(self) -> None:
        """Release the calls that a fault holds."""
        self.releases += 1
        self._feed.publish("faults")

    def clear(self) -> None:
        """Remove all faults, and release held calls."""
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

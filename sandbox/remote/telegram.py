"""The sandbox client's calls about Telegram itself: updates, Bot API calls, the clock, faults."""

from typing import Any

from pydantic import TypeAdapter

from sandbox.calls import Call
from sandbox.faults import FaultKind
from sandbox.remote.transport import NOTHING, Transport
from sandbox.settings import Switches
from sandbox.shapes import Json
from sandbox.updates import UpdateRecord
from sandbox.views import About, FaultsView
from sandbox.world import ClockReading

_ABOUT = TypeAdapter(About)
_CALLS = TypeAdapter(list[Call])
_CLOCK = TypeAdapter(ClockReading)
_FAULTS = TypeAdapter(FaultsView)
_FLAG = TypeAdapter(bool)
_SWITCHES = TypeAdapter(Switches)
_UPDATE = TypeAdapter(UpdateRecord)
_UPDATES = TypeAdapter(list[UpdateRecord])


class TelegramCalls(Transport):
    """The part of SandboxClient about Telegram itself."""

    async def about(self) -> About:
        """Ask the sandbox for the token and the bot's user, and the values that cards need."""
        return await self.call(_ABOUT, "about")

    async def replace_token(self, token: str) -> None:
        """Have the sandbox replace the bot's token, and revoke the old one."""
        await self.call(NOTHING, "replace_token", token=token)

    async def clock(self) -> ClockReading:
        """Ask the sandbox for its virtual time."""
        return await self.call(_CLOCK, "clock")

    async def move_clock(self, seconds: float) -> ClockReading:
        """Move the sandbox's clock forward; timers on the way fire in order."""
        return await self.call(_CLOCK, "move_clock", seconds=seconds)

    async def updates_waiting(self) -> list[UpdateRecord]:
        """Ask the sandbox for the updates that the bot has not confirmed."""
        return await self.call(_UPDATES, "updates_waiting")

    async def updates_past(self) -> list[UpdateRecord]:
        """Ask the sandbox for the last 10,000 updates that no longer wait, with their fate."""
        return await self.call(_UPDATES, "updates_past")

    async def push_raw(self, update: Json) -> UpdateRecord:
        """Have the sandbox queue any object as an update, with an update_id of its own."""
        return await self.call(_UPDATE, "push_raw", update=update)

    async def calls(self, method: str | None = None, *, after: int = 0) -> list[Call]:
        """Ask the sandbox for the bot's last 10,000 calls, of one method or of all, after a number."""
        return await self.call(_CALLS, "calls", method=method, after=after)

    async def wait_for_call(self, method: str, *, after: int = 0, timeout_seconds: float = 10.0) -> Call:
        """Wait until the bot has called a method of the sandbox; return the first such call after a number."""

        async def called() -> Call | None:
            return next(iter(await self.calls(method, after=after)), None)

        return await self.wait_until(called, timeout_seconds=timeout_seconds, what=f"a call of {method}")

    async def wait_until_confirmed(self, *, timeout_seconds: float = 10.0) -> None:
        """Wait until the bot has confirmed all updates of the sandbox."""

        async def none_waits() -> bool:
            return not await self.updates_waiting()

        await self.wait_until(none_waits, timeout_seconds=timeout_seconds, what="the confirmation of all updates")

    async def polling(self) -> bool:
        """Ask the sandbox whether a getUpdates call is open: the bot is idle."""
        return await self.call(_FLAG, "polling")

    async def wait_until_polling(self, *, timeout_seconds: float = 10.0) -> None:
        """Wait until the sandbox holds a getUpdates call of the bot."""
        await self.wait_until(self.polling, timeout_seconds=timeout_seconds, what="a long poll of the bot")

    async def faults(self) -> FaultsView:
        """Ask the sandbox for the faults that are set."""
        return await self.call(_FAULTS, "faults")

    async def add_fault(self, kind: FaultKind, method: str = "*", *, count: int = 1, **more: Any) -> None:
        """Set a fault of the sandbox for the next `count` calls; more: the options of the kind (sandbox.faults)."""
        await self.call(TypeAdapter(Any), "add_fault", kind=kind, method=method, count=count, **more)

    async def remove_fault(self, kind: FaultKind, method: str = "*") -> None:
        """Remove the sandbox's faults of a kind and a method."""
        await self.call(NOTHING, "remove_fault", kind=kind, method=method)

    async def lose_updates(self, count: int = 1, *, kind: str = "*") -> None:
        """Have the sandbox drop the next updates of a kind (a field of Update, or of its message)."""
        await self.call(NOTHING, "lose_updates", count=count, kind=kind)

    async def double_updates(self, count: int = 1, *, kind: str = "*") -> None:
        """Have the sandbox deliver the next updates of a kind twice."""
        await self.call(NOTHING, "double_updates", count=count, kind=kind)

    async def spare_updates(self, *, dropped: bool, kind: str = "*") -> None:
        """Remove the sandbox's faults that drop updates (`dropped`), or that deliver them twice."""
        await self.call(NOTHING, "spare_updates", dropped=dropped, kind=kind)

    async def set_away(self, *, away: bool) -> None:
        """Have the sandbox make Telegram unreachable for the bot, or reachable again."""
        await self.call(NOTHING, "set_away", away=away)

    async def release_holds(self) -> None:
        """Have the sandbox release the held calls."""
        await self.call(NOTHING, "release_holds")

    async def wait_until_held(self, *, timeout_seconds: float = 10.0) -> None:
        """Wait until the sandbox holds a call by a HOLD fault."""

        async def held() -> bool:
            return (await self.faults()).held > 0

        await self.wait_until(held, timeout_seconds=timeout_seconds, what="a held call")

    async def clear_faults(self) -> None:
        """Remove all faults of the sandbox."""
        await self.call(NOTHING, "clear_faults")

    async def switches(self) -> Switches:
        """Ask the sandbox for its switches."""
        return await self.call(_SWITCHES, "switches")

    async def set_switches(self, **switches: bool | int) -> Switches:
        """Turn switches of the sandbox, named as in `Switches`."""
        return await self.call(_SWITCHES, "set_switches", **switches)

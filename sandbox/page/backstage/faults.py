"""What can go wrong, as switches: a fault that has happened switches itself off."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nicegui import ui

from sandbox.client import SandboxClient
from sandbox.faults import Fault, FaultKind, UpdateFault
from sandbox.page.backstage.cards import card, refusals_told
from sandbox.page.elements import box, button, line
from sandbox.shapes import Json
from sandbox.views import FaultsView

AnyFault = Fault | UpdateFault

_FAULTS: dict[str, AnyFault] = {
    "The next payment's update is lost": UpdateFault(dropped=True, kind="successful_payment"),
    "The next payment's update comes twice": UpdateFault(dropped=False, kind="successful_payment"),
    "The next answer to a pre-checkout comes 12 s late": Fault(
        FaultKind.DELAY, "answerPreCheckoutQuery", delay_seconds=12.0
    ),
    "The next refund happens, but its answer is lost": Fault(FaultKind.ANSWER_LOST, "refundStarPayment"),
    "The next refund is cut off before it happens": Fault(FaultKind.CUT_BEFORE, "refundStarPayment"),
    "The next 3 messages: 429, retry after 2 s": Fault(
        FaultKind.RETRY_AFTER, "sendMessage", count=3, retry_after_seconds=2
    ),
    "The next 3 messages: 502": Fault(FaultKind.SERVER_ERROR, "sendMessage", count=3),
}
_SWITCHES = {
    "refuse_refund_below_balance": "A refund beyond the bot's balance is refused",
    "announce_bot_cancel": "A subscription that the bot ends is announced to it",
}
_TOPICS = {"faults", "switches", "call", "update", "lost"}


@dataclass(frozen=True, slots=True)
class _State:
    faults: FaultsView
    switches: dict[str, bool]


class FaultsCard:
    """Shows what is set to go wrong."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        self._shown: _State | None = None
        with card("What goes wrong"):
            self._body = box("switches")
            button("Set everything right", refusals_told(client.clear_faults), "button soft")

    async def refresh(self) -> None:
        """Read what is set."""
        switches = await self._client.switches()
        state = _State(await self._client.faults(), {name: bool(getattr(switches, name)) for name in _SWITCHES})
        if state == self._shown:
            return
        self._shown = state
        self._body.clear()
        with self._body:
            _switch("Telegram cannot be reached", state.faults.away, self._toggle_away)
            for told, fault in _FAULTS.items():
                self._fault_switch(told, fault, state.faults)
            for name, told in _SWITCHES.items():
                self._option_switch(told, name, is_on=state.switches[name])

    async def update(self, events: list[Json]) -> None:
        """Read again when a fault was set, or may have happened."""
        if any(event["topic"] in _TOPICS for event in events):
            await self.refresh()

    async def _toggle_away(self) -> None:
        await self._client.set_away(away=not (await self._client.faults()).away)

    def _fault_switch(self, told: str, fault: AnyFault, set_now: FaultsView) -> None:
        is_on = any(_is_same(fault, other) for other in _all(set_now))

        async def toggle() -> None:
            await (self._take_back(fault) if is_on else self._set(fault))

        _switch(told, is_on, toggle)

    def _option_switch(self, told: str, name: str, *, is_on: bool) -> None:
        async def toggle() -> None:
            await self._client.set_switches(**{name: not is_on})

        _switch(told, is_on, toggle)

    async def _set(self, fault: AnyFault) -> None:
        if isinstance(fault, UpdateFault):
            change = self._client.lose_updates if fault.dropped else self._client.double_updates
            await change(fault.count, kind=fault.kind)
            return
        await self._client.add_fault(
            fault.kind,
            fault.method,
            count=fault.count,
            retry_after_seconds=fault.retry_after_seconds,
            status=fault.status,
            delay_seconds=fault.delay_seconds,
        )

    async def _take_back(self, fault: AnyFault) -> None:
        """Clear all faults, which is what the sandbox offers, and set the others again."""
        set_now = await self._client.faults()
        await self._client.clear_faults()
        await self._client.set_away(away=set_now.away)
        for other in _all(set_now):
            if not _is_same(fault, other):
                await self._set(other)


def _all(set_now: FaultsView) -> list[AnyFault]:
    return [*set_now.calls, *set_now.updates]


def _is_same(fault: AnyFault, other: AnyFault) -> bool:
    """Tell whether two faults differ in their count at most."""
    if isinstance(fault, Fault) and isinstance(other, Fault):
        return (fault.kind, fault.method) == (other.kind, other.method)
    if isinstance(fault, UpdateFault) and isinstance(other, UpdateFault):
        return (fault.dropped, fault.kind) == (other.dropped, other.kind)
    return False


def _switch(told: str, is_on: bool, toggle: Callable[[], Awaitable[object]]) -> ui.element:  # noqa: FBT001 - a switch
    made = box("switch", "button").props("type=button role=switch").on("click", refusals_told(toggle), args=[])
    made.props["aria-checked"] = "true" if is_on else "false"
    with made:
        box("track")
        line(told)
    return made

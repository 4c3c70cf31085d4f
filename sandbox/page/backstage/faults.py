"""The page's card of faults, as switches: a fault that has happened switches itself off."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sandbox.client import SandboxClient
from sandbox.faults import Fault, FaultKind, UpdateFault
from sandbox.page.backstage.cards import card, refusals_told
from sandbox.page.elements import box, button, line
from sandbox.settings import Switches
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
    options: Switches

    def has(self, fault: AnyFault) -> bool:
        """Tell whether a fault is set, with any count."""
        return any(_is_same(fault, other) for other in _all(self.faults))


class FaultsCard:
    """The card of the faults that are set. Its switches stay in place, so that a refresh loses no click."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        self._switches: list[_Switch] = []
        with card("What goes wrong"):
            with box("switches"):
                self._add("Telegram cannot be reached", lambda state: state.faults.away, self._set_away)
                for told, fault in _FAULTS.items():
                    self._add_fault(told, fault)
                line("Where Telegram's way is not documented", "muted")
                for name, told in _SWITCHES.items():
                    self._add_option(told, name)
            button("Set everything right", refusals_told(client.clear_faults), "button soft")

    async def refresh(self) -> None:
        """Refresh the faults' card."""
        state = await self._state()
        for switch in self._switches:
            switch.show(state)

    async def update(self, events: list[Json]) -> None:
        """Update the faults' card after somebody set a fault, or one may have happened."""
        if any(event["topic"] in _TOPICS for event in events):
            await self.refresh()

    async def _state(self) -> _State:
        return _State(await self._client.faults(), await self._client.switches())

    def _add(self, told: str, is_on: Callable[[_State], bool], turn: Callable[[bool], Awaitable[object]]) -> None:
        async def toggle() -> None:
            await turn(not is_on(await self._state()))

        self._switches.append(_Switch(told, is_on, toggle))

    def _add_fault(self, told: str, fault: AnyFault) -> None:
        self._add(told, lambda state: state.has(fault), lambda on: self._set(fault) if on else self._take_back(fault))

    def _add_option(self, told: str, name: str) -> None:
        self._add(
            told,
            lambda state: bool(getattr(state.options, name)),
            lambda on: self._client.set_switches(**{name: on}),
        )

    async def _set_away(self, away: bool) -> None:  # noqa: FBT001 - turned by a switch
        await self._client.set_away(away=away)

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
        if isinstance(fault, UpdateFault):
            await self._client.spare_updates(dropped=fault.dropped, kind=fault.kind)
        else:
            await self._client.remove_fault(fault.kind, fault.method)


def _all(set_now: FaultsView) -> list[AnyFault]:
    return [*set_now.calls, *set_now.updates]


def _is_same(fault: AnyFault, other: AnyFault) -> bool:
    """Tell whether two faults differ in their count at most."""
    if isinstance(fault, Fault) and isinstance(other, Fault):
        return (fault.kind, fault.method) == (other.kind, other.method)
    if isinstance(fault, UpdateFault) and isinstance(other, UpdateFault):
        return (fault.dropped, fault.kind) == (other.dropped, other.kind)
    return False


class _Switch:
    """A switch of the faults' card that shows the sandbox's state."""

    def __init__(self, told: str, is_on: Callable[[_State], bool], toggle: Callable[[], Awaitable[object]]) -> None:
        self._is_on = is_on
        self._made = box("switch", "button").props("type=button role=switch aria-checked=false")
        self._made.on("click", refusals_told(toggle), args=[])
        with self._made:
            box("track")
            line(told)

    def show(self, state: _State) -> None:
        """Set a switch of the faults' card by the state."""
        self._made.props["aria-checked"] = "true" if self._is_on(state) else "false"

"""The page's card of the clock: the sandbox's time, and the buttons that move it."""

from datetime import UTC, datetime, timedelta

from nicegui import ui

from sandbox.client import SandboxClient
from sandbox.page.backstage.cards import card, refusals_told
from sandbox.page.backstage.light import ahead
from sandbox.page.elements import box, button, day, line
from sandbox.shapes import Json

_STEPS = {"+1 hour": timedelta(hours=1), "+1 day": timedelta(days=1), "+30 days": timedelta(days=30)}


class ClockCard:
    """The card of the virtual time, which ticks each second."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        self._offset = timedelta()
        with card("The clock") as head:
            with head:
                self._ahead = line("", "muted")
            self._time = line("", "time-of-day")
            with box("buttons"):
                for told, step in _STEPS.items():
                    self._add_step(told, step)
        ui.timer(1.0, self._show)

    async def refresh(self) -> None:
        """Read the offset for the clock's card."""
        self._offset = timedelta(seconds=(await self._client.clock()).offset_seconds)
        self._show()

    async def update(self, events: list[Json]) -> None:
        """Update the clock's card after the clock moved."""
        if any(event["topic"] == "clock" for event in events):
            await self.refresh()

    def _add_step(self, told: str, step: timedelta) -> None:
        async def move() -> None:
            await self._client.move_clock(step.total_seconds())

        button(told, refusals_told(move), "button soft")

    def _show(self) -> None:
        now = datetime.now(UTC) + self._offset
        self._time.set_text(f"{day(now)}, {now:%H:%M:%S} UTC")
        self._ahead.set_text(f"{told} ahead" if (told := ahead(self._offset)) else "real time")

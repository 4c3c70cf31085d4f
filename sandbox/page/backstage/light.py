"""The status light in the page's head: the state of the bot's process, and the offset of the clock."""

from datetime import timedelta

from nicegui import ui

from sandbox.bot_process import BotProcess
from sandbox.client import SandboxClient
from sandbox.page.elements import box, line
from sandbox.shapes import Json


def ahead(offset: timedelta) -> str:
    """Write the clock's offset in days and hours; empty without one."""
    hours = offset.seconds // 3600
    parts = [f"{offset.days} d" if offset.days else "", f"{hours} h" if hours else ""]
    return " ".join(part for part in parts if part)


class StatusLight:
    """The status light: two small words, which appear only when something is unusual."""

    def __init__(self, client: SandboxClient, bot: BotProcess | None) -> None:
        self._client = client
        with box("status"):
            self._clock = line("", "badge")
            self._stopped = line("bot stopped", "badge state-failed")
        self._stopped.set_visibility(False)
        if bot is not None:
            self._follow(bot)

    async def refresh(self) -> None:
        """Read the clock's offset for the status light."""
        told = ahead(timedelta(seconds=(await self._client.clock()).offset_seconds))
        self._clock.set_text(f"clock +{told}")
        self._clock.set_visibility(bool(told))

    async def update(self, events: list[Json]) -> None:
        """Update the status light after the clock moved."""
        if any(event["topic"] == "clock" for event in events):
            await self.refresh()

    def _follow(self, bot: BotProcess) -> None:
        def show() -> None:
            self._stopped.set_visibility(bot.pid is None)

        bot.watchers.add(show)
        ui.context.client.on_delete(lambda: bot.watchers.discard(show))
        show()

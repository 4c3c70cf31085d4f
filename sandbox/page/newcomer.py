"""A new person: who it is, and with how many Stars."""

from nicegui import ui

from sandbox.client import SandboxClient
from sandbox.page.elements import box, button, line
from sandbox.remote.transport import SandboxError

STARS = 1_000
STARS_MAX = 1_000_000_000


class NewcomerDialog:
    """The dialog that adds a person; `open` shows it."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        with ui.dialog() as self._dialog, box("card newcomer"):
            line("A new person", "card-title")
            self._name = ui.input("Name").props("outlined dense autofocus").on("keydown.enter", self._add)
            self._stars = ui.number("Stars", value=STARS, min=0, max=STARS_MAX, precision=0).props("outlined dense")
            with box("buttons"):
                button("Add", self._add)
                button("Cancel", self._dialog.close, "button soft")

    def open(self) -> None:
        """Ask for a new person."""
        self._name.set_value("")
        self._dialog.open()

    async def _add(self) -> None:
        name = (self._name.value or "").strip()
        if not name:
            return
        try:
            await self._client.add_person(name, balance_stars=int(self._stars.value or 0))
        except SandboxError as refusal:
            ui.notify(str(refusal), type="warning")
        self._dialog.close()

"""The dialogs on the page that add a person or a group."""

from collections.abc import Callable

from nicegui import ui

from sandbox.client import SandboxClient
from sandbox.page.elements import box, button, icon_button, line
from sandbox.remote.transport import SandboxError

STARS = 1_000
STARS_MAX = 1_000_000_000


class Newcomers:
    """The button that adds a person or a group, with a dialog for each; `choose` shows the new chat."""

    def __init__(self, client: SandboxClient, choose: Callable[[int], None]) -> None:
        self._client = client
        self._choose = choose
        with ui.dialog() as self._person_dialog, box("card newcomer"):
            line("A new person", "card-title")
            self._name = ui.input("Name").props("outlined dense autofocus").on("keydown.enter", self._add_person)
            self._stars = ui.number("Stars", value=STARS, min=0, max=STARS_MAX, precision=0).props("outlined dense")
            with box("buttons"):
                button("Add", self._add_person)
                button("Cancel", self._person_dialog.close, "button soft")
        with ui.dialog() as self._group_dialog, box("card newcomer"):
            line("A new group", "card-title")
            line("Everybody who is here becomes a member, and so does the bot.", "muted")
            self._title = ui.input("Title").props("outlined dense autofocus").on("keydown.enter", self._add_group)
            self._admins = ui.select({}, label="Administrators", multiple=True).props("outlined dense use-chips")
            with box("buttons"):
                button("Add", self._add_group)
                button("Cancel", self._group_dialog.close, "button soft")
        with icon_button("add", "Add a person or a group", lambda: None), ui.menu().props("auto-close"):
            ui.menu_item("A new person", self._ask_for_person)
            ui.menu_item("A new group", self._ask_for_group)

    def _ask_for_person(self) -> None:
        self._name.set_value("")
        self._person_dialog.open()

    async def _ask_for_group(self) -> None:
        persons = await self._client.persons()
        if not persons:
            ui.notify("A group needs somebody in it: add a person first.", type="warning")
            return
        self._title.set_value("")
        self._admins.set_options({person.id: person.first_name for person in persons}, value=[])
        self._group_dialog.open()

    async def _add_person(self) -> None:
        name = (self._name.value or "").strip()
        if not name:
            return
        try:
            person = await self._client.add_person(name, balance_stars=int(self._stars.value or 0))
            self._choose(person.id)
        except SandboxError as refusal:
            ui.notify(str(refusal), type="warning")
        self._person_dialog.close()

    async def _add_group(self) -> None:
        title = (self._title.value or "").strip()
        if not title:
            return
        members = [person.id for person in await self._client.persons()]
        group = await self._client.add_group(title, member_ids=members, admin_ids=self._admins.value)
        self._choose(group.id)
        self._group_dialog.close()

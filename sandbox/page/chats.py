"""All people's chats: beside each other where there is room, one at a time on a phone."""

from typing import TYPE_CHECKING

from sandbox.client import SandboxClient
from sandbox.page.elements import box, line
from sandbox.page.pane import ChatPane, avatar, full_name
from sandbox.people import Person
from sandbox.shapes import Json

if TYPE_CHECKING:
    from nicegui import ui


class Chats:
    """The panes, and the row to choose one of them by."""

    def __init__(self, client: SandboxClient, bot: Json) -> None:
        self._client = client
        self._bot = bot
        self._panes: dict[int, ChatPane] = {}
        self._choices: dict[int, ui.element] = {}
        self._names: dict[int, ui.label] = {}
        with box("chats", "main") as self.root:
            self._chooser = box("chooser", "nav").props("aria-label=People")
            self._floor = box("panes")

    async def refresh(self) -> None:
        """Read everything anew."""
        for person in await self._client.persons():
            if person.id not in self._panes:
                self._add(person)
        for pane in self._panes.values():
            await pane.refresh()

    async def update(self, events: list[Json]) -> None:
        """Read anew what the events touch; a new person gets a pane."""
        known = self._panes.keys()
        if any(event["topic"] == "person" and event["user_id"] not in known for event in events):
            await self.refresh()
        for user_id, pane in self._panes.items():
            await pane.update(events)
            self._names[user_id].set_text(full_name(pane.person))

    def _add(self, person: Person) -> None:
        with self._floor:
            self._panes[person.id] = ChatPane(self._client, person, self._bot)
        with self._chooser:
            choice = box("choice", "button").on("click", lambda: self._choose(person.id), args=[])
            with choice:
                avatar(person)
                self._names[person.id] = line(full_name(person))
        self._choices[person.id] = choice
        if len(self._panes) == 1:
            self._choose(person.id)

    def _choose(self, user_id: int) -> None:
        for each_id, pane in self._panes.items():
            is_chosen = each_id == user_id
            pane.root.classes(**{"add" if is_chosen else "remove": "chosen"})
            self._choices[each_id].classes(**{"add" if is_chosen else "remove": "chosen"})

"""All chats of the page: beside each other where there is room, one at a time on a phone."""

from typing import TYPE_CHECKING

from sandbox.client import SandboxClient
from sandbox.page.elements import box, line
from sandbox.page.group_pane import GroupPane
from sandbox.page.pane import Pane, avatar
from sandbox.page.person_pane import PersonPane
from sandbox.shapes import Json

if TYPE_CHECKING:
    from nicegui import ui


class Chats:
    """The page's panes of people and groups by chat id, and the row of tabs."""

    def __init__(self, client: SandboxClient, bot: Json) -> None:
        self._client = client
        self._bot = bot
        self._panes: dict[int, Pane] = {}
        self._choices: dict[int, ui.element] = {}
        self._names: dict[int, ui.label] = {}
        self._awaited_id: int | None = None
        with box("chats", "main") as self.root:
            self._chooser = box("chooser", "nav").props("aria-label=People")
            self._floor = box("panes")

    async def refresh(self) -> None:
        """Refresh all panes."""
        for person in await self._client.persons():
            if person.id not in self._panes:
                with self._floor:
                    self._add(person.id, PersonPane(self._client, person, self._bot))
        for group in await self._client.groups():
            if group.id not in self._panes and group.member_ids:
                with self._floor:
                    self._add(group.id, GroupPane(self._client, group, self._bot))
        for pane in self._panes.values():
            await pane.refresh()

    async def update(self, events: list[Json]) -> None:
        """Update the panes that the events touch; add a pane for a new person or group."""
        came = {event.get("user_id") for event in events if event["topic"] == "person"}
        came |= {event["chat_id"] for event in events if event["topic"] == "group"}
        if came - self._panes.keys():
            await self.refresh()
        for chat_id, pane in self._panes.items():
            await pane.update(events)
            self._names[chat_id].set_text(pane.name)

    def choose(self, chat_id: int) -> None:
        """Show a chat on the page, at once or as soon as it exists."""
        self._awaited_id = chat_id
        if chat_id in self._panes:
            self._choose(chat_id)

    def _add(self, chat_id: int, pane: Pane) -> None:
        self._panes[chat_id] = pane
        with self._chooser:
            choice = box("choice", "button").on("click", lambda: self._choose(chat_id), args=[])
            with choice:
                avatar(pane.name, abs(chat_id))
                self._names[chat_id] = line(pane.name)
        self._choices[chat_id] = choice
        if len(self._panes) == 1 or chat_id == self._awaited_id:
            self._choose(chat_id)

    def _choose(self, chosen_id: int) -> None:
        self._awaited_id = None
        self._panes[chosen_id].root.run_method("scrollIntoView")
        for chat_id, pane in self._panes.items():
            is_chosen = chat_id == chosen_id
            pane.root.classes(**{"add" if is_chosen else "remove": "chosen"})
            self._choices[chat_id].classes(**{"add" if is_chosen else "remove": "chosen"})

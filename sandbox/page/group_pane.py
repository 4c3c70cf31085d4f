"""The pane of a group with the bot in it: all members write in it, each when a click has chosen that member."""

from nicegui import ui

from sandbox.client import SandboxClient
from sandbox.messages import ChatMessage
from sandbox.page.bubbles import Sender
from sandbox.page.elements import box, line
from sandbox.page.pane import COLOURS, Pane, avatar
from sandbox.page.speaker import Speaker
from sandbox.people import Group, Person, Reach
from sandbox.shapes import Json


class GroupPane(Pane):
    """The pane of one group."""

    HEAD_TOPICS = frozenset({"group"})

    def __init__(self, client: SandboxClient, group: Group, bot: Json) -> None:
        super().__init__(client, Speaker((group.admin_ids or group.member_ids)[0], group.id), bot)
        self.group = group
        self.root.props["aria-label"] = f"{group.title}'s chat"
        self.composer.show(Reach.OPEN)

    @property
    def name(self) -> str:
        """Return the group's title for its pane."""
        return self.group.title

    async def refresh_head(self) -> None:
        """Refresh the group's pane: its title and its members."""
        self.group = next(group for group in await self.client.groups() if group.id == self.group.id)
        members = [person for person in await self.client.persons() if person.id in self.group.member_ids]
        self.head.clear()
        with self.head:
            avatar(self.name, abs(self.group.id))
            with box("names"):
                line(self.name, "name")
                line(f"{len(members)} members" + (", the bot was removed" if self.group.bot_removed else ""), "muted")
            self._show_choice(members)

    def sender(self, message: Json) -> Sender | None:
        """Return the sender of a group's message; an anonymous administrator writes in the group's name."""
        sender = message.get("sender_chat") or message["from"]
        return Sender(sender.get("title") or sender["first_name"], abs(sender["id"]) % COLOURS)

    def is_mine(self, found: ChatMessage) -> bool:
        """Tell whether the member who writes in the group's pane now wrote a message."""
        sender_id: int = found.message["from"]["id"]
        return sender_id == self.speaker.user_id

    def _show_choice(self, members: list[Person]) -> None:
        names = {person.id: person.first_name for person in members}
        with box("writes-as", "button").props("type=button") as made:
            line("as", "muted")
            line(names[self.speaker.user_id] + (", anonymously" if self.speaker.anonymous else ""))
            ui.icon("expand_more")
            with ui.menu().props("auto-close"):
                for user_id, name in names.items():
                    self._add_choice(name, user_id, anonymous=False)
                    if user_id in self.group.admin_ids:
                        self._add_choice(f"{name}, anonymously", user_id, anonymous=True)
        made.props["title"] = "Who writes"

    def _add_choice(self, told: str, user_id: int, *, anonymous: bool) -> None:
        async def choose() -> None:
            self.speaker.user_id, self.speaker.anonymous = user_id, anonymous
            await self.refresh()

        ui.menu_item(told, choose)

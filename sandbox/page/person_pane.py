"""The pane of one person: the private chat with the bot, and the person's Stars."""

from nicegui import ui

from sandbox.cards import CardCharge
from sandbox.charges import Charge
from sandbox.checkout import PaymentState
from sandbox.client import SandboxClient
from sandbox.page.elements import box, icon_button, line, stars
from sandbox.page.my_stars import TOP_UP_STARS
from sandbox.page.pane import CHAT_TOPICS, Pane, avatar
from sandbox.page.speaker import Speaker
from sandbox.people import Person, Reach
from sandbox.shapes import Json


class PersonPane(Pane):
    """The pane of one person."""

    HEAD_TOPICS = CHAT_TOPICS | {"person", "charge", "refund"}

    def __init__(self, client: SandboxClient, person: Person, bot: Json) -> None:
        super().__init__(client, Speaker(person.id, person.id), bot)
        self.person = person

    @property
    def name(self) -> str:
        """Return the person's name for the pane, as Telegram shows it."""
        return f"{self.person.first_name} {self.person.last_name or ''}".strip()

    async def update(self, events: list[Json]) -> None:
        """Update the parts of the person's pane that the events touch, an open sheet of Stars too."""
        await super().update(events)
        if self.hands.my_stars.is_open and any(event["topic"] == "subscription" for event in events):
            await self.hands.my_stars.show()

    async def refresh_head(self) -> None:
        """Refresh the head of the person's pane."""
        person = await self.client.person(self.person.id)
        if person == self.person and list(self.head):
            return
        self.person = person
        self.root.props["aria-label"] = f"{self.name}'s chat"
        self.root.classes(**{"add" if person.reach is Reach.NOT_STARTED else "remove": "not-started"})
        self.composer.show(person.reach)
        self.head.clear()
        with self.head:
            avatar(self.name, person.id)
            with box("names"):
                line(self.name, "name")
                line(f"@{person.username}" if person.username else f"id {person.id}", "muted")
            with (
                box("balance-pill", "button")
                .props("type=button")
                .on("click", self.hands.my_stars.show, args=[]) as pill
            ):
                stars(person.balance_stars)
            pill.props["title"] = "My Stars and subscriptions"
            self._show_menu(person)

    async def charges(self) -> dict[str, Charge | CardCharge]:
        """Return the person's charges by Telegram's id, and by the offer that each of them paid."""
        person_id = self.person.id
        by_id: dict[str, Charge | CardCharge] = {}
        by_id.update({charge.id: charge for charge in await self.client.charges(person_id)})
        by_id.update({charge.id: charge for charge in await self.client.card_charges(person_id)})
        for payment in await self.client.payments():
            if payment.state is PaymentState.PAID and payment.charge_id in by_id:
                by_id[payment.offer_id] = by_id[payment.charge_id]
        return by_id

    def _show_menu(self, person: Person) -> None:
        async def top_up() -> None:
            await self.client.set_balance(person.id, person.balance_stars + TOP_UP_STARS)

        async def toggle_block() -> None:
            await self.hands.set_reach(Reach.OPEN if person.reach is Reach.BLOCKED else Reach.BLOCKED)
            await self.refresh_head()

        with icon_button("more_vert", "More", lambda: None), ui.menu().props("auto-close"):
            ui.menu_item("My Stars and subscriptions", self.hands.my_stars.show)
            ui.menu_item(f"Get {TOP_UP_STARS:,} Stars", top_up)
            ui.menu_item("Unblock the bot" if person.reach is Reach.BLOCKED else "Block the bot", toggle_block)

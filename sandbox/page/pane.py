"""One person's Telegram: the head with the Stars, the chat with the bot, the field to write in."""

from collections.abc import Iterable

from nicegui import ui

from sandbox.charges import Charge
from sandbox.checkout import PaymentState
from sandbox.client import SandboxClient
from sandbox.messages import ChatMessage
from sandbox.page.bubbles import Shown, show_message
from sandbox.page.composer import Composer
from sandbox.page.elements import box, day, icon_button, line, moment, stars
from sandbox.page.hands import Hands
from sandbox.page.keyed_rows import KeyedRows
from sandbox.page.sheet import TOP_UP_STARS
from sandbox.people import Person, Reach
from sandbox.shapes import Json

MESSAGES_SHOWN = 200
_CHAT_TOPICS = {"message", "edited", "deleted"}
_PERSON_TOPICS = {"person", "charge", "refund"}
COLOURS = 6


class ChatPane:
    """The pane of one person; `update` brings it up to date with the sandbox."""

    def __init__(self, client: SandboxClient, person: Person, bot: Json) -> None:
        self.person = person
        self._client = client
        self._bot_name = bot["first_name"]
        self._last_id = 0
        with box("pane", "section") as self.root:
            self._head = box("pane-head")
            with box("scroll") as self._scroll:
                self._rows = KeyedRows[int, Shown](box("messages").props("role=log"), self._build_message)
            cover = box("cover")
            self._hands = Hands(client, person.id, bot["username"], cover)
            self._composer = Composer(self._hands)

    async def refresh(self) -> None:
        """Read everything anew."""
        await self._refresh_person()
        await self._refresh_messages()

    async def update(self, events: list[Json]) -> None:
        """Read anew what the events touch."""
        mine = {event["topic"] for event in events if self.person.id in (event.get("chat_id"), event.get("user_id"))}
        if mine & (_CHAT_TOPICS | {"charge", "refund"}):
            await self._refresh_messages()
        if mine & (_CHAT_TOPICS | _PERSON_TOPICS):
            await self._refresh_person()

    async def _refresh_person(self) -> None:
        person = await self._client.person(self.person.id)
        if person == self.person and list(self._head):
            return
        self.person = person
        self.root.props["aria-label"] = f"{full_name(person)}'s chat"
        self._composer.show(person)
        self._head.clear()
        with self._head:
            avatar(person)
            with box("names"):
                line(full_name(person), "name")
                line(f"@{person.username}" if person.username else f"id {person.id}", "muted")
            stars(person.balance_stars, "balance-pill").props["title"] = "My Stars"
            self._show_menu(person)

    def _show_menu(self, person: Person) -> None:
        async def top_up() -> None:
            await self._client.set_balance(person.id, person.balance_stars + TOP_UP_STARS)

        async def toggle_block() -> None:
            await self._hands.set_reach(Reach.OPEN if person.reach is Reach.BLOCKED else Reach.BLOCKED)
            await self._refresh_person()

        with icon_button("more_vert", "More", lambda: None), ui.menu().props("auto-close"):
            ui.menu_item(f"Get {TOP_UP_STARS:,} Stars", top_up)
            ui.menu_item("Unblock the bot" if person.reach is Reach.BLOCKED else "Block the bot", toggle_block)

    async def _refresh_messages(self) -> None:
        wanted = self._with_context(await self._client.chat(self.person.id), await self._charges())
        self._rows.show(wanted)
        # Who writes sees the end of the chat; who reads further up is left there.
        if any(message_id > self._last_id and not shown.found.by_bot for message_id, shown in wanted.items()):
            self._scroll.run_method("scrollTo", 0, 0)
        self._last_id = max(wanted, default=0)

    def _build_message(self, shown: Shown) -> None:
        show_message(shown, self._bot_name, self._hands)

    async def _charges(self) -> dict[str, Charge]:
        """Give the person's charges by id, and by the offer that each of them paid."""
        by_id = {charge.id: charge for charge in await self._client.charges(self.person.id)}
        for payment in await self._client.payments():
            if payment.state is PaymentState.PAID and payment.charge_id in by_id:
                by_id[payment.offer_id] = by_id[payment.charge_id]
        return by_id

    @staticmethod
    def _with_context(chat: Iterable[ChatMessage], charges: dict[str, Charge]) -> dict[int, Shown]:
        wanted: dict[int, Shown] = {}
        last_day = None
        for found in [found for found in chat if not found.deleted][-MESSAGES_SHOWN:]:
            this_day = day(moment(found.message["date"]))
            wanted[found.message_id] = Shown(found, this_day != last_day, _charge_of(found, charges))
            last_day = this_day
        return wanted


def _charge_of(found: ChatMessage, charges: dict[str, Charge]) -> Charge | None:
    message = found.message
    payment = message.get("successful_payment") or message.get("refunded_payment")
    if payment is not None:
        return charges.get(payment["telegram_payment_charge_id"])
    # Without a start_parameter an invoice keeps its Pay button (Bot API, sendInvoice).
    if found.offer_id is not None and message["invoice"]["start_parameter"]:
        return charges.get(found.offer_id)
    return None


def full_name(person: Person) -> str:
    """Give a person's name as Telegram shows it."""
    return f"{person.first_name} {person.last_name or ''}".strip()


def avatar(person: Person) -> None:
    """Show a person's initial on the colour of the account."""
    line(person.first_name[:1].upper(), f"avatar colour-{person.id % COLOURS}")

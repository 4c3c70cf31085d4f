"""A pane: one chat on the page, with its head, its messages, and its composer."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from sandbox.cards import CardCharge
from sandbox.charges import Charge
from sandbox.client import SandboxClient
from sandbox.messages import ChatMessage
from sandbox.page.bubbles import Sender, Shown, show_message
from sandbox.page.composer import Composer
from sandbox.page.elements import box, day, line, moment
from sandbox.page.hands import Hands
from sandbox.page.keyed_rows import KeyedRows
from sandbox.page.speaker import Speaker
from sandbox.shapes import Json

MESSAGES_SHOWN = 200
COLOURS = 6
CHAT_TOPICS = frozenset({"message", "edited", "deleted"})


class Pane(ABC):
    """One chat on the page; `update` brings it up to date with the sandbox.

    A kind of chat names in `HEAD_TOPICS` the events that change its head: a menu that is open there closes with it.
    """

    HEAD_TOPICS: frozenset[str]

    def __init__(self, client: SandboxClient, speaker: Speaker, bot: Json) -> None:
        self.client = client
        self.speaker = speaker
        self._bot_name = bot["first_name"]
        self._last_id = 0
        with box("pane", "section") as self.root:
            self.head = box("pane-head")
            with box("wall") as self._scroll:
                self._rows = KeyedRows[int, Shown](box("messages").props("role=log"), self._build_message)
            cover = box("cover")
            self.hands = Hands(client, speaker, bot["username"], cover)
            self.composer = Composer(self.hands)

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the pane's name on the page."""

    async def refresh(self) -> None:
        """Refresh the pane."""
        await self.refresh_head()
        await self.refresh_messages()

    async def update(self, events: list[Json]) -> None:
        """Update the parts of the pane that the events touch."""
        chat_id = self.speaker.chat_id
        mine = {event["topic"] for event in events if chat_id in (event.get("chat_id"), event.get("user_id"))}
        if mine & (CHAT_TOPICS | {"charge", "refund"}):
            await self.refresh_messages()
        if mine & self.HEAD_TOPICS:
            await self.refresh_head()

    @abstractmethod
    async def refresh_head(self) -> None:
        """Refresh the pane's head."""

    async def refresh_messages(self) -> None:
        """Refresh the pane's messages."""
        wanted = self._with_context(await self.client.chat(self.speaker.chat_id), await self.charges())
        self._rows.show(wanted)
        # A person who writes sees the end of the chat; one who reads further up stays there.
        if any(message_id > self._last_id and not shown.found.by_bot for message_id, shown in wanted.items()):
            self._scroll.run_method("scrollTo", 0, 0)
        self._last_id = max(wanted, default=0)

    async def charges(self) -> dict[str, Charge | CardCharge]:
        """Return the charges in the pane's messages, by Telegram's id, and by the offer that each of them paid."""
        return {}

    def sender(self, message: Json) -> Sender | None:  # noqa: ARG002 - which kinds of chat need
        """Return the name above a message, None where it is obvious."""
        return None

    def is_mine(self, found: ChatMessage) -> bool:
        """Tell whether the pane's speaker wrote a message."""
        return not found.by_bot

    def _build_message(self, shown: Shown) -> None:
        show_message(shown, self._bot_name, self.hands)

    def _with_context(self, chat: Iterable[ChatMessage], charges: dict[str, Charge | CardCharge]) -> dict[int, Shown]:
        wanted: dict[int, Shown] = {}
        last_day = None
        for found in [found for found in chat if not found.deleted][-MESSAGES_SHOWN:]:
            this_day = day(moment(found.message["date"]))
            is_mine = self.is_mine(found)
            wanted[found.message_id] = Shown(
                found,
                opens_day=this_day != last_day,
                charge=_charge_of(found, charges),
                is_mine=is_mine,
                sender=None if is_mine else self.sender(found.message),
            )
            last_day = this_day
        return wanted


def _charge_of(found: ChatMessage, charges: dict[str, Charge | CardCharge]) -> Charge | CardCharge | None:
    message = found.message
    payment = message.get("successful_payment") or message.get("refunded_payment")
    if payment is not None:
        return charges.get(payment["telegram_payment_charge_id"])
    # Without a start_parameter an invoice keeps its Pay button (Bot API, sendInvoice).
    if found.offer_id is not None and message["invoice"]["start_parameter"]:
        return charges.get(found.offer_id)
    return None


def avatar(name: str, number: int) -> None:
    """Show an initial on the colour of an account or a group."""
    line(name[:1].upper(), f"avatar colour-{number % COLOURS}")

"""Actions of a person in the sandbox's app: write, press, pay, forward, block."""

from dataclasses import dataclass

from sandbox.callbacks import Callbacks, Press
from sandbox.checkout import Checkout, Payment
from sandbox.clock import VirtualClock
from sandbox.errors import ControlError
from sandbox.invoices import Offers
from sandbox.messages import ChatMessage, Messages
from sandbox.people import Group, People, Person, Reach
from sandbox.shapes import Json, without_none
from sandbox.text.entities import merge_found
from sandbox.updates import MESSAGE_LIFE, UpdateQueue


@dataclass(frozen=True, slots=True)
class ForwardedInvoice:
    """A forwarded copy of an invoice: with a Pay button (`offer_id`), or with a link to the bot (`url`)."""

    offer_id: str | None
    url: str | None


class Actions:
    """All actions of persons in the sandbox's app."""

    def __init__(
        self,
        people: People,
        messages: Messages,
        callbacks: Callbacks,
        checkout: Checkout,
        offers: Offers,
        queue: UpdateQueue,
        clock: VirtualClock,
        bot: Json,
    ) -> None:
        self._people = people
        self._messages = messages
        self._callbacks = callbacks
        self._checkout = checkout
        self._offers = offers
        self._queue = queue
        self._clock = clock
        self._bot = bot

    def send_text(
        self,
        *,
        user_id: int,
        text: str,
        chat_id: int | None = None,
        anonymous: bool = False,
        reply_to_message_id: int | None = None,
        topic_id: int | None = None,
        via_bot: Json | None = None,
    ) -> ChatMessage:
        """Write a person's text to the bot or a group; `anonymous`: as a group's anonymous administrator.

        It goes into the named topic of the chat, whether or not the chat has it. `via_bot` is the inline bot whose
        result the person picked.
        """
        person = self._people.person(user_id)
        content = without_none(
            text=text,
            entities=merge_found(text, []) or None,
            message_thread_id=topic_id,
            is_topic_message=topic_id and True,
            via_bot=via_bot,
        )
        if reply_to_message_id is not None:
            replied = self._messages.for_person(chat_id or user_id, reply_to_message_id)
            content["reply_to_message"] = replied.message
        if chat_id is None or chat_id == user_id:
            if anonymous:
                raise ControlError("only a group has anonymous administrators")
            self._open_chat(person)
            return self._messages.post_by_person(person, person, content)
        group = self._group_of(person, chat_id)
        if not anonymous:
            return self._messages.post_by_person(person, group, content)
        if user_id not in group.admin_ids:
            raise ControlError(f"{user_id} is no administrator of the group {chat_id}")
        return self._messages.post_anonymously(group, content)

    def press(
        self,
        *,
        user_id: int,
        message_id: int,
        chat_id: int | None = None,
        data: str | None = None,
        text: str | None = None,
    ) -> Press:
        """Press a callback button for a person, by its data or text. Raises ControlError without such a button."""
        person = self._people.person(user_id)
        found = self._messages.for_person(chat_id or user_id, message_id)
        if chat_id is not None and chat_id != user_id:
            self._group_of(person, chat_id)
        for button in found.buttons():
            wanted = data in (None, button.get("callback_data")) and text in (None, button["text"])
            if wanted and "callback_data" in button:
                return self._callbacks.press(person, found, button["callback_data"])
        raise ControlError(f"message {message_id} has no such button; it has {found.buttons()}")

    def press_stale(self, *, user_id: int, message_id: int, data: str) -> Press:
        """Press a button that is gone, or that an altered app made up, for a person: the bot gets any data."""
        found = self._messages.for_person(user_id, message_id)
        return self._callbacks.press(self._people.person(user_id), found, data)

    def start_payment(
        self,
        *,
        user_id: int,
        message_id: int | None = None,
        chat_id: int | None = None,
        offer_id: str | None = None,
        card: str | None = None,
    ) -> Payment:
        """Press Pay and Confirm for a person, on an invoice message or an offer's id or link; `card`: its number."""
        if chat_id is not None and chat_id < 0:
            self._group_of(self._people.person(user_id), chat_id)
        if offer_id is None and message_id is not None:
            offer_id = self._messages.for_person(chat_id or user_id, message_id).offer_id
        if offer_id is None:
            raise ControlError(f"message {message_id} is no invoice")
        return self._checkout.start(user_id=user_id, offer_id=offer_id, card=card)

    def forward_invoice(self, *, chat_id: int, message_id: int) -> ForwardedInvoice:
        """Forward an invoice to somebody else; return the kind of button on its copy (Bot API, sendInvoice)."""
        found = self._messages.for_person(chat_id, message_id)
        if found.offer_id is None:
            raise ControlError(f"message {message_id} is no invoice")
        parameter = self._offers.by_id[found.offer_id].invoice.start_parameter
        if parameter:
            return ForwardedInvoice(None, f"https://t.me/{self._bot['username']}?start={parameter}")
        return ForwardedInvoice(found.offer_id, None)

    def set_reach(self, *, user_id: int, reach: Reach) -> Person:
        """Let a person block the bot, unblock it, or delete the account; the bot learns of it by my_chat_member."""
        person = self._people.person(user_id)
        before, person.reach = person.reach, reach
        if Reach.BLOCKED in (before, reach) and before is not reach:
            member, kicked = (
                {"user": self._bot, "status": "member"},
                {
                    "user": self._bot,
                    "status": "kicked",
                    "until_date": 0,
                },
            )
            blocked = reach is Reach.BLOCKED
            update = {
                "chat": person.chat(),
                "from": person.user(),
                "date": self._clock.unix(),
                "old_chat_member": member if blocked else kicked,
                "new_chat_member": kicked if blocked else member,
            }
            self._queue.push("my_chat_member", update, MESSAGE_LIFE)
        return person

    def _open_chat(self, person: Person) -> None:
        if person.reach is Reach.BLOCKED:
            self.set_reach(user_id=person.id, reach=Reach.OPEN)
        person.reach = Reach.OPEN

    def _group_of(self, person: Person, chat_id: int) -> Group:
        group = self._people.group(chat_id)
        if person.id not in group.member_ids:
            raise ControlError(f"{person.id} is no member of the group {chat_id}")
        return group

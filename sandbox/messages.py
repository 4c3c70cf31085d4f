"""Messages in the sandbox's chats, in order, with their content before each edit."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.clock import VirtualClock
from sandbox.errors import ControlError, bad_request
from sandbox.feed import Feed
from sandbox.people import Group, People, Person
from sandbox.shapes import ANONYMOUS_ADMIN, Json
from sandbox.updates import MESSAGE_LIFE, UpdateQueue

DELETABLE_FOR = timedelta(hours=48)


@dataclass(slots=True)
class ChatMessage:
    """A message as the Bot API shows it, and its edits.

    `earlier` holds its content before each edit, oldest first; `offer_id` names the invoice that it carries.
    """

    chat_id: int
    message_id: int
    by_bot: bool
    message: Json
    earlier: list[Json] = field(default_factory=list)
    deleted: bool = False
    offer_id: str | None = None

    def text(self) -> str:
        """Return the message's text or caption, empty when it has none."""
        text: str = self.message.get("text") or self.message.get("caption") or ""
        return text

    def buttons(self) -> list[Json]:
        """Return the buttons of the message's inline keyboard in reading order."""
        rows = self.message.get("reply_markup", {}).get("inline_keyboard", [])
        return [button for row in rows for button in row]


class Messages:
    """The messages of all chats. Private chats share one count of message ids, as in a real account."""

    def __init__(self, clock: VirtualClock, queue: UpdateQueue, people: People, feed: Feed, bot: Json) -> None:
        self.chats: dict[int, dict[int, ChatMessage]] = {}
        self._clock = clock
        self._queue = queue
        self._people = people
        self._feed = feed
        self._bot = bot
        self._last_ids: dict[int, int] = {}

    def transcript(self, *, chat_id: int) -> list[ChatMessage]:
        """Return a chat's messages in order, deleted ones too."""
        return list(self.chats.get(chat_id, {}).values())

    def restore(self, messages: list[ChatMessage]) -> None:
        """Restore the messages of an earlier run."""
        for found in messages:
            self.chats.setdefault(found.chat_id, {})[found.message_id] = found
            counter = min(found.chat_id, 0)
            self._last_ids[counter] = max(self._last_ids.get(counter, 0), found.message_id)

    def post_by_bot(self, chat: Person | Group, content: Json, offer_id: str | None = None) -> Json:
        """Post a message of the bot; raises ApiError when the chat does not take it."""
        self._people.check_reachable(chat)
        return self._post(chat, self._bot, content, by_bot=True, offer_id=offer_id).message

    def post_by_person(self, sender: Person, chat: Person | Group, content: Json) -> ChatMessage:
        """Post a message of a person, and queue its update."""
        posted = self._post(chat, sender.user(), content, by_bot=False)
        self._queue.push("message", posted.message, MESSAGE_LIFE)
        return posted

    def post_anonymously(self, group: Group, content: Json) -> ChatMessage:
        """Post a message of an anonymous administrator: from GroupAnonymousBot, in the group's name."""
        posted = self._post(group, ANONYMOUS_ADMIN, {"sender_chat": group.chat(), **content}, by_bot=False)
        self._queue.push("message", posted.message, MESSAGE_LIFE)
        return posted

    def post_service_by_bot(self, person: Person, content: Json) -> ChatMessage:
        """Post a service message that the bot itself gets as an update (a refund)."""
        posted = self._post(person, self._bot, content, by_bot=True)
        self._queue.push("message", posted.message, MESSAGE_LIFE)
        return posted

    def for_bot(self, chat: Person | Group, message_id: int, what: str) -> ChatMessage:
        """Find a message for a Bot API call; raises ApiError `message to ... not found`."""
        found = self.chats.get(chat.id, {}).get(message_id)
        if found is None or found.deleted:
            raise bad_request(f"{what} not found")
        return found

    def for_person(self, chat_id: int, message_id: int) -> ChatMessage:
        """Find a message that a person can see; raises ControlError."""
        found = self.chats.get(chat_id, {}).get(message_id)
        if found is None or found.deleted:
            raise ControlError(f"there is no message {message_id} in the chat {chat_id}")
        return found

    def edit(self, found: ChatMessage, changes: Json) -> Json:
        """Edit fields of a message (None removes one); raises ApiError when nothing changes."""
        edited = {name: value for name, value in {**found.message, **changes}.items() if value is not None}
        if edited == found.message:
            raise bad_request("MESSAGE_NOT_MODIFIED")
        found.earlier.append(found.message)
        found.message = {**edited, "edit_date": self._clock.unix()}
        self._feed.publish("edited", chat_id=found.chat_id, message_id=found.message_id)
        return found.message

    def delete(self, found: ChatMessage) -> None:
        """Delete a message; raises ApiError when it is over 48 hours old (Bot API, deleteMessage)."""
        age = self._clock.now() - datetime.fromtimestamp(found.message["date"], self._clock.now().tzinfo)
        if age > DELETABLE_FOR:
            raise bad_request("Message can't be deleted for everyone")
        found.deleted = True
        self._feed.publish("deleted", chat_id=found.chat_id, message_id=found.message_id)

    def _post(
        self,
        chat: Person | Group,
        sender: Json,
        content: Json,
        *,
        by_bot: bool,
        offer_id: str | None = None,
    ) -> ChatMessage:
        counter = chat.id if isinstance(chat, Group) else 0
        message_id = self._last_ids[counter] = self._last_ids.get(counter, 0) + 1
        head = {"message_id": message_id, "from": sender, "chat": chat.chat(), "date": self._clock.unix()}
        posted = ChatMessage(chat.id, message_id, by_bot, {**head, **content}, offer_id=offer_id)
        self.chats.setdefault(chat.id, {})[message_id] = posted
        self._feed.publish("message", chat_id=chat.id, message_id=message_id)
        return posted

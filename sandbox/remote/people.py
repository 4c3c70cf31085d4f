"""The sandbox client's calls about persons, groups and chats."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import TypeAdapter

from sandbox.callbacks import Press
from sandbox.messages import ChatMessage
from sandbox.people import Group, Person, Reach
from sandbox.remote.transport import ROWS, Transport
from sandbox.shapes import Json

_PERSON = TypeAdapter(Person)
_PERSONS = TypeAdapter(list[Person])
_GROUP = TypeAdapter(Group)
_GROUPS = TypeAdapter(list[Group])
_MESSAGE = TypeAdapter(ChatMessage)
_MESSAGES = TypeAdapter(list[ChatMessage])
_PRESS = TypeAdapter(Press)


class PeopleCalls(Transport):
    """The part of SandboxClient about persons and their chats."""

    async def add_person(self, first_name: str, *, balance_stars: int = 0, **more: Any) -> Person:
        """Have the sandbox add a person; more: id, last_name, username, language_code ("en"), started (False)."""
        return await self.call(_PERSON, "add_person", first_name=first_name, balance_stars=balance_stars, **more)

    async def person(self, user_id: int) -> Person:
        """Ask the sandbox for a person."""
        return await self.call(_PERSON, "person", user_id=user_id)

    async def persons(self) -> list[Person]:
        """Ask the sandbox for all persons."""
        return await self.call(_PERSONS, "persons")

    async def set_balance(self, user_id: int, balance_stars: int) -> Person:
        """Have the sandbox set a person's balance in Stars."""
        return await self.call(_PERSON, "set_balance", user_id=user_id, balance_stars=balance_stars)

    async def rename(self, user_id: int, first_name: str, **more: str) -> Person:
        """Have the sandbox rename a person; last_name, username and language_code are those given, or none."""
        return await self.call(_PERSON, "rename", user_id=user_id, first_name=first_name, **more)

    async def set_reach(self, user_id: int, reach: Reach) -> Person:
        """Have a person in the sandbox block the bot, unblock it, or delete the account."""
        return await self.call(_PERSON, "set_reach", user_id=user_id, reach=reach)

    async def add_group(
        self,
        title: str,
        *,
        member_ids: list[int] | None = None,
        admin_ids: list[int] | None = None,
        kind: Literal["group", "supergroup"] = "supergroup",
    ) -> Group:
        """Have the sandbox add a group with the bot as an administrator."""
        return await self.call(_GROUP, "add_group", title=title, member_ids=member_ids, admin_ids=admin_ids, kind=kind)

    async def groups(self) -> list[Group]:
        """Ask the sandbox for all groups."""
        return await self.call(_GROUPS, "groups")

    async def remove_bot(self, chat_id: int) -> Group:
        """Have the sandbox remove the bot from a group."""
        return await self.call(_GROUP, "remove_bot", chat_id=chat_id)

    async def send_text(
        self,
        user_id: int,
        text: str,
        *,
        chat_id: int | None = None,
        anonymous: bool = False,
        reply_to_message_id: int | None = None,
        topic_id: int | None = None,
        via_bot: Json | None = None,
    ) -> ChatMessage:
        """Have a person in the sandbox write to the bot or a group; `anonymous`: as an anonymous administrator.

        `topic_id`: in a topic; `via_bot`: a User, the inline bot whose result it is.
        """
        return await self.call(
            _MESSAGE,
            "send_text",
            user_id=user_id,
            text=text,
            chat_id=chat_id,
            anonymous=anonymous,
            reply_to_message_id=reply_to_message_id,
            topic_id=topic_id,
            via_bot=via_bot,
        )

    async def start(self, user_id: int, parameter: str = "") -> ChatMessage:
        """Have a person in the sandbox press Start, or follow the deep link t.me/<bot>?start=<parameter>."""
        return await self.send_text(user_id, f"/start {parameter}".strip())

    async def press(
        self,
        user_id: int,
        message_id: int,
        *,
        data: str | None = None,
        text: str | None = None,
        chat_id: int | None = None,
    ) -> Press:
        """Have a person in the sandbox press the callback button with this data or text.

        Raises SandboxError when there is no such button.
        """
        return await self.call(
            _PRESS, "press", user_id=user_id, message_id=message_id, data=data, text=text, chat_id=chat_id
        )

    async def press_stale(self, user_id: int, message_id: int, data: str) -> Press:
        """Have the sandbox send a callback query with any data, from a button that is gone or never was."""
        return await self.call(_PRESS, "press_stale", user_id=user_id, message_id=message_id, data=data)

    async def press_answer(self, query_id: str, *, timeout_seconds: float = 10.0) -> Press:
        """Wait in the sandbox for the bot's answer to a pressed button."""

        async def answered() -> Press | None:
            press = await self.call(_PRESS, "callback", query_id=query_id)
            return press if press.answered else None

        return await self.wait_until(answered, timeout_seconds=timeout_seconds, what="the answer to the button")

    async def chat(self, chat_id: int) -> list[ChatMessage]:
        """Ask the sandbox for a chat's messages in order, deleted ones too."""
        return await self.call(_MESSAGES, "chat", chat_id=chat_id)

    async def commands(self, user_id: int, chat_id: int | None = None) -> list[Json]:
        """Ask the sandbox for the commands that a person sees, in the private chat or in a group."""
        return await self.call(ROWS, "commands", user_id=user_id, chat_id=chat_id)

    async def wait_for(
        self,
        chat_id: int,
        matches: Callable[[ChatMessage], bool],
        *,
        after_message_id: int = 0,
        timeout_seconds: float = 10.0,
    ) -> ChatMessage:
        """Wait until a chat in the sandbox has a message that matches; return the first one.

        Only messages with a higher id than `after_message_id` count, deleted ones do not. Raises SandboxTimeoutError
        with the whole chat in it.
        """

        async def first() -> ChatMessage | None:
            found = await self.chat(chat_id)
            fresh = (one for one in found if one.message_id > after_message_id and not one.deleted)
            return next((one for one in fresh if matches(one)), None)

        async def told() -> str:
            return "\n".join(["The chat:", *(line(one) for one in await self.chat(chat_id))])

        return await self.wait_until(
            first, timeout_seconds=timeout_seconds, what=f"the message in chat {chat_id}", otherwise=told
        )

    async def wait_for_text(self, chat_id: int, part: str, **options: Any) -> ChatMessage:
        """Wait for a message of the bot in the sandbox whose text contains `part`; options as in `wait_for`."""
        return await self.wait_for(chat_id, lambda one: one.by_bot and part in one.text(), **options)


def line(found: ChatMessage) -> str:
    """Write a message in one line, for the reader of a failed test."""
    other = [name for name in ("invoice", "successful_payment", "refunded_payment") if name in found.message]
    content = found.text() or " ".join(f"[{name}: {found.message[name]}]" for name in other) or "[file]"
    buttons = " ".join(f"[{button['text']}]" for button in found.buttons())
    marks = (" (edited)" if found.earlier else "") + (" (deleted)" if found.deleted else "")
    who = "bot" if found.by_bot else found.message["from"]["first_name"]
    return f"{found.message_id:>4} {who}{marks}: {content} {buttons}".rstrip()

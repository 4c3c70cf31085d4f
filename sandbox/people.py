"""The people of the sandbox's Telegram: the bot, persons with their Stars, and groups."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from sandbox.args import leading_integer
from sandbox.errors import ApiError, ControlError, bad_request
from sandbox.feed import Feed
from sandbox.shapes import Json, without_none

GROUP_ID_FIRST = -1_002_000_000_001  # supergroups and channels are below -1,000,000,000,000
PERSON_ID_FIRST = 5_000_000_001  # above 32 bits, as new accounts are


class Reach(StrEnum):
    """The reach of the bot: whether it may write to a person."""

    NOT_STARTED = "not_started"
    OPEN = "open"
    BLOCKED = "blocked"
    DEACTIVATED = "deactivated"


_REFUSALS = {
    Reach.NOT_STARTED: "bot can't initiate conversation with a user",
    Reach.BLOCKED: "USER_IS_BLOCKED",
    Reach.DEACTIVATED: "INPUT_USER_DEACTIVATED",
}


@dataclass(slots=True)
class Person:
    """A person's account with a Star balance."""

    id: int
    first_name: str
    last_name: str | None = None
    username: str | None = None
    language_code: str | None = None
    balance_stars: int = 0
    reach: Reach = Reach.NOT_STARTED

    def user(self) -> Json:
        """Return the person as the Bot API's User."""
        return without_none(
            id=self.id,
            is_bot=False,
            first_name=self.first_name,
            last_name=self.last_name,
            username=self.username,
            language_code=self.language_code,
        )

    def chat(self) -> Json:
        """Return the Bot API's private Chat with this person."""
        return without_none(
            id=self.id,
            first_name=self.first_name,
            last_name=self.last_name,
            username=self.username,
            type="private",
        )


@dataclass(slots=True)
class Group:
    """A group with the bot as an administrator, so that it sees every message."""

    id: int
    title: str
    kind: Literal["group", "supergroup"] = "supergroup"
    member_ids: list[int] = field(default_factory=list)
    admin_ids: list[int] = field(default_factory=list)
    bot_removed: bool = False

    def chat(self) -> Json:
        """Return the group as the Bot API's Chat."""
        return {"id": self.id, "title": self.title, "type": self.kind}


class People:
    """All persons and groups by id."""

    def __init__(self, feed: Feed) -> None:
        self.persons: dict[int, Person] = {}
        self.groups: dict[int, Group] = {}
        self._feed = feed

    def add_person(  # the control API's own arguments, all optional
        self,
        *,
        first_name: str,
        balance_stars: int = 0,
        id: int | None = None,  # noqa: A002 - Telegram's own name for it
        last_name: str | None = None,
        username: str | None = None,
        language_code: str | None = "en",
        started: bool = False,
    ) -> Person:
        """Add a person; `started` if the person has opened the bot's chat before, so that the bot may write.

        Raises ControlError for an id that somebody has.
        """
        person_id = id or max(self.persons, default=PERSON_ID_FIRST - 1) + 1
        if person_id in self.persons:
            raise ControlError(f"there is a person with the id {person_id} already")
        reach = Reach.OPEN if started else Reach.NOT_STARTED
        person = Person(person_id, first_name, last_name, username, language_code, balance_stars, reach)
        self.persons[person_id] = person
        self._feed.publish("person", user_id=person_id)
        return person

    def add_group(
        self,
        *,
        title: str,
        member_ids: list[int] | None = None,
        admin_ids: list[int] | None = None,
        kind: Literal["group", "supergroup"] = "supergroup",
    ) -> Group:
        """Add a group with the bot in it; administrators are members too."""
        admins = admin_ids or []
        members = list(dict.fromkeys([*(member_ids or []), *admins]))
        for user_id in members:
            self.person(user_id)
        group = Group(GROUP_ID_FIRST - len(self.groups), title, kind, members, admins)
        self.groups[group.id] = group
        self._feed.publish("group", chat_id=group.id)
        return group

    def remove_bot(self, *, chat_id: int) -> Group:
        """Remove the bot from a group."""
        group = self.group(chat_id)
        group.bot_removed = True
        self._feed.publish("group", chat_id=chat_id)
        return group

    def set_balance(self, *, user_id: int, balance_stars: int) -> Person:
        """Set a person's balance in Stars."""
        person = self.person(user_id)
        person.balance_stars = balance_stars
        self._feed.publish("person", user_id=user_id)
        return person

    def rename(
        self,
        *,
        user_id: int,
        first_name: str,
        last_name: str | None = None,
        username: str | None = None,
        language_code: str | None = None,
    ) -> Person:
        """Rename a person; messages sent before keep the old name."""
        person = self.person(user_id)
        person.first_name, person.last_name = first_name, last_name
        person.username, person.language_code = username, language_code
        self._feed.publish("person", user_id=user_id)
        return person

    def person(self, user_id: int) -> Person:
        """Find a person for the control API; raises ControlError."""
        if user_id not in self.persons:
            raise ControlError(f"there is no person with the id {user_id}")
        return self.persons[user_id]

    def group(self, chat_id: int) -> Group:
        """Find a group for the control API; raises ControlError."""
        if chat_id not in self.groups:
            raise ControlError(f"there is no group with the id {chat_id}")
        return self.groups[chat_id]

    def chat_for_bot(self, chat_id: str) -> Person | Group:
        """Find the person or group that a Bot API call names as its chat, by id or @username.

        Raises ApiError as Client.cpp's check_chat does: an empty id, an unknown chat, a group without us.
        """
        if not chat_id:
            raise bad_request("chat_id is empty")
        # Telegram finds only groups and channels by @username, and the sandbox's have none.
        number = leading_integer(chat_id)
        if number in self.groups:
            group = self.groups[number]
            if group.bot_removed:
                kind = "supergroup" if group.kind == "supergroup" else "group"
                raise ApiError(403, f"Forbidden: bot was kicked from the {kind} chat")
            return group
        if number in self.persons:
            return self.persons[number]
        raise bad_request("chat not found")

    @staticmethod
    def check_reachable(chat: Person | Group) -> None:
        """Raise the ApiError with which Telegram's servers refuse to deliver to a person or group, if they do."""
        if isinstance(chat, Person) and chat.reach in _REFUSALS:
            raise ApiError(403, _REFUSALS[chat.reach])

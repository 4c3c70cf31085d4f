"""The bot's lists of commands, by scope and language, and the list that a person sees."""

from typing import Any

from sandbox.args import Args, leading_integer
from sandbox.errors import bad_request
from sandbox.people import Group, People
from sandbox.shapes import Json

COMMAND_LENGTH_MAX = 32
DESCRIPTION_LENGTH_MAX = 256
COMMANDS_MAX = 100
Scope = tuple[str, int, int]

_PLAIN_SCOPES = ("default", "all_private_chats", "all_group_chats", "all_chat_administrators")
_CHAT_SCOPES = ("chat", "chat_administrators", "chat_member")


class Commands:
    """The bot's commands by (scope, language); a scope is its type, chat id and user id, 0 where it has none."""

    def __init__(self, people: People) -> None:
        self.lists: dict[tuple[Scope, str], list[Json]] = {}
        self._people = people

    def set(self, args: Args) -> None:
        """Store a list of commands (setMyCommands); raises ApiError."""
        commands = args.json("commands", "Can't parse commands JSON object") or []
        if not isinstance(commands, list):
            raise bad_request("Expected an Array of BotCommand")
        if len(commands) > COMMANDS_MAX:
            raise bad_request("BOT_COMMANDS_TOO_MUCH")
        checked = [_read_command(command) for command in commands]
        self.lists[self._key(args)] = checked

    def get(self, args: Args) -> list[Json]:
        """Return the list of commands of exactly this scope and language (getMyCommands)."""
        return self.lists.get(self._key(args), [])

    def delete(self, args: Args) -> None:
        """Delete the list of commands of a scope and language."""
        self.lists.pop(self._key(args), None)

    def seen_by(self, *, user_id: int, chat_id: int | None = None) -> list[Json]:
        """Return the commands that a person sees in a chat (by default the private one), of the narrowest scope."""
        language = self._people.person(user_id).language_code or ""
        for scope in self._scopes(user_id, chat_id or user_id):
            for code in (language, ""):
                if (scope, code) in self.lists:
                    return self.lists[scope, code]
        return []

    def _scopes(self, user_id: int, chat_id: int) -> list[Scope]:
        """Return the scopes of commands in the order in which Telegram looks them up (Bot API, BotCommandScope)."""
        if chat_id > 0:
            return [("chat", chat_id, 0), ("all_private_chats", 0, 0), ("default", 0, 0)]
        is_admin = user_id in self._people.group(chat_id).admin_ids
        admin: list[Scope] = [("chat_administrators", chat_id, 0)] if is_admin else []
        all_admins: list[Scope] = [("all_chat_administrators", 0, 0)] if is_admin else []
        member: Scope = ("chat_member", chat_id, user_id)
        chat: Scope = ("chat", chat_id, 0)
        return [member, *admin, chat, *all_admins, ("all_group_chats", 0, 0), ("default", 0, 0)]

    def _key(self, args: Args) -> tuple[Scope, str]:
        language = args.text("language_code")
        if language and not (len(language) == 2 and language.isalpha() and language.islower()):  # noqa: PLR2004 - ISO 639-1
            raise bad_request("Invalid language code specified")
        scope = args.json("scope", "Can't parse BotCommandScope JSON object")
        return (("default", 0, 0) if scope is None else self._scope(scope)), language

    def _scope(self, scope: Any) -> Scope:
        prefix = "Can't parse BotCommandScope: "
        if not isinstance(scope, dict):
            raise bad_request(prefix + "BotCommandScope must be an Object")
        kind = scope.get("type")
        if kind in _PLAIN_SCOPES:
            return kind, 0, 0
        if kind not in _CHAT_SCOPES:
            raise bad_request(prefix + "Unsupported type specified")
        if not scope.get("chat_id"):
            raise bad_request(prefix + "Empty chat_id specified")
        chat = self._people.chat_for_bot(str(scope["chat_id"]))
        if kind != "chat" and not isinstance(chat, Group):
            raise bad_request("BOT_COMMAND_SCOPE_INVALID")
        user_id = leading_integer(str(scope.get("user_id"))) if kind == "chat_member" else 0
        if kind == "chat_member" and user_id <= 0:
            raise bad_request(prefix + "Invalid user_id specified")
        return kind, chat.id, user_id


def _read_command(command: Any) -> Json:
    prefix = "Can't parse BotCommand: "
    if not isinstance(command, dict):
        raise bad_request(prefix + "expected an Object")
    for name in ("command", "description"):
        if name not in command:
            raise bad_request(f'{prefix}Can\'t find field "{name}"')
    text = str(command["command"]).strip().removeprefix("/")
    description = str(command["description"]).strip()
    if not text:
        raise bad_request("Command must be non-empty")
    if len(text) > COMMAND_LENGTH_MAX:
        raise bad_request(f"Command length must not exceed {COMMAND_LENGTH_MAX}")
    if not description:
        raise bad_request("Command description must be non-empty")
    if len(description) > DESCRIPTION_LENGTH_MAX:
        raise bad_request(f"Command description length must not exceed {DESCRIPTION_LENGTH_MAX}")
    if not (text.isascii() and text.replace("_", "a").isalnum() and text.islower()):
        raise bad_request("BOT_COMMAND_INVALID")
    return {"command": text, "description": description}

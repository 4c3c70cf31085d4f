"""Small pieces of Telegram's JSON that everything else is made of."""

from typing import Any

Json = dict[str, Any]

ANONYMOUS_ADMIN: Json = {
    "id": 1087968824,
    "is_bot": True,
    "first_name": "Group",
    "username": "GroupAnonymousBot",
}


def without_none(**fields: object) -> Json:
    """Make an object of the fields that have a value: Telegram leaves absent ones out."""
    return {name: value for name, value in fields.items() if value is not None}

"""Small pieces of Telegram's JSON that the other modules share."""

from typing import Any

Json = dict[str, Any]

ANONYMOUS_ADMIN: Json = {
    "id": 1087968824,
    "is_bot": True,
    "first_name": "Group",
    "username": "GroupAnonymousBot",
}


def without_none(**fields: object) -> Json:
    """Return a JSON object without the fields that are None.

    They go because Telegram leaves absent fields out.
    """
    return {name: value for name, value in fields.items() if value is not None}

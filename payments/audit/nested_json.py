"""JSON of others, however deep it is nested: whatever walks it does so by recursion, which has an end."""

import json
from typing import Any, Final

DEPTH_MAX: Final = 64
"""No update of Telegram's is nested half as deep, and money stands in the third level (Bot API, Update)."""


def pruned(value: Any, depth: int = DEPTH_MAX) -> Any:
    """Return a value without what is nested deeper than this; what is not so deep stays as it is."""
    if isinstance(value, dict):
        return {name: pruned(each, depth - 1) for name, each in value.items()} if depth else None
    if isinstance(value, list):
        return [pruned(each, depth - 1) for each in value] if depth else None
    return value


def is_deep(text: str) -> bool:
    """Tell whether something of a text is left out by `read_json`: what it holds is not all known then."""
    try:
        value = json.loads(text)
        return bool(pruned(value) != value)
    except (ValueError, RecursionError):
        return True


def read_json(text: str) -> Any:
    """Return what a text holds, pruned; None for a text that is no JSON, or is nested deeper than Python reads."""
    try:
        return pruned(json.loads(text))
    except (ValueError, RecursionError):
        return None

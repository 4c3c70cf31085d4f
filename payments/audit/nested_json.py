"""Reads JSON from other programs, cut at a depth, because code that walks JSON recurses, and Python limits that."""

import json
from typing import Any, Final

DEPTH_MAX: Final = 64
"""Telegram's updates nest less than half as deep, and money stands in the third level (Bot API, Update)."""


def pruned(value: Any, depth: int = DEPTH_MAX) -> Any:
    """Return a JSON value without the parts that nest deeper than `depth`."""
    if isinstance(value, dict):
        return {name: pruned(each, depth - 1) for name, each in value.items()} if depth else None
    if isinstance(value, list):
        return [pruned(each, depth - 1) for each in value] if depth else None
    return value


def is_deep(text: str) -> bool:
    """Tell whether `read_json` leaves out a part of a JSON text."""
    try:
        value = json.loads(text)
        return bool(pruned(value) != value)
    except (ValueError, RecursionError):
        return True


def read_json(text: str) -> Any:
    """Read a JSON text, cut at DEPTH_MAX; None: it is no JSON, or nested deeper than Python reads."""
    try:
        return pruned(json.loads(text))
    except (ValueError, RecursionError):
        return None

"""Values of others as they are shown: rows that another service wrote may hold anything."""

import unicodedata
from typing import Final

_BAD: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
AMOUNT_MAX: Final = 10**24
"""An amount beyond it is shown as this: no money has so much, and no format takes it."""


def cut(text: str, length_max: int) -> str:
    """Return a text without what a message, a cell or a terminal takes for an order, and no longer than this."""
    clean = "".join(" " if unicodedata.category(each) in _BAD else each for each in text[: length_max + 1])
    return clean if len(text) <= length_max else f"{clean[: length_max - 1]}…"


def bounded(amount: int) -> int:
    """Return an amount that can be formatted; SQLite gives a float where a row holds more than 64 bits."""
    return int(max(-AMOUNT_MAX, min(AMOUNT_MAX, amount)))

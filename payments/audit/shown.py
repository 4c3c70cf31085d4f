"""Makes values of others fit to show, because a row that another service wrote may hold anything."""

import unicodedata
from typing import Final

_BAD: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
AMOUNT_MAX: Final = 10**24
"""The largest amount shown: no money has more, and no format takes more."""


def cut(text: str, length_max: int) -> str:
    """Shorten a text to be shown, without characters that a message, a cell or a terminal takes for a command."""
    clean = "".join(" " if unicodedata.category(each) in _BAD else each for each in text[: length_max + 1])
    return clean if len(text) <= length_max else f"{clean[: length_max - 1]}…"


def bounded(amount: int) -> int:
    """Bound an amount to be shown; SQLite gives a float where a row holds more than 64 bits."""
    return int(max(-AMOUNT_MAX, min(AMOUNT_MAX, amount)))

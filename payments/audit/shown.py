"""Makes values from other programs fit to show, because a row that another service wrote may hold anything."""

import unicodedata
from typing import Final

_BAD: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
SHOWN_AMOUNT_MAX: Final = 10**24
"""The largest amount shown: it is beyond any real amount, and the most that all formats take."""


def cut(text: str, length_max: int) -> str:
    """Cut a text to at most `length_max` characters, with blanks for control characters and line separators.

    A message, a cell or a terminal may take such a character for a command.
    """
    clean = "".join(" " if unicodedata.category(each) in _BAD else each for each in text[: length_max + 1])
    return clean if len(text) <= length_max else f"{clean[: length_max - 1]}…"


def bounded(amount: int) -> int:
    """Return an amount as a whole number fit to show, at most SHOWN_AMOUNT_MAX either way.

    SQLite gives a float where a row holds more than 64 bits.
    """
    return int(max(-SHOWN_AMOUNT_MAX, min(SHOWN_AMOUNT_MAX, amount)))

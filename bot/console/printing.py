"""The console of the operator's commands, and their amounts, dates and foreign values in print."""

from datetime import datetime
from typing import Final

from rich.console import Console

from bot.chat.money import in_major
from bot.monitoring.logs import escaped
from payments.audit.shown import cut

# The console wraps no line, because nobody can copy a charge id out of two lines.
CONSOLE: Final = Console(soft_wrap=True, highlight=False, markup=False)


VALUE_LENGTH_MAX: Final = 1024
"""Characters of a printed value: the longest charge id has so many, and is copied whole."""
CURRENCY_LENGTH_MAX: Final = 8
NAME_LENGTH_MAX: Final = 64


def money(amount: int, currency: str) -> str:
    """Return an amount in minor units (Stars: Stars) in words: 1 XTR, 4.99 USD, 700 JPY."""
    code = shown(currency, CURRENCY_LENGTH_MAX)
    return f"{in_major(amount, code)} {code}"


def shown(text: str | None, length_max: int = VALUE_LENGTH_MAX) -> str:
    """Return a foreign value for print: on one line, cut, and with no control characters for the terminal."""
    return escaped(cut(text or "", length_max))


def minute(moment: datetime | None) -> str:
    """Return an aware moment in UTC to the minute as text, empty for None."""
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""

"""How the operator's commands print."""

from datetime import datetime
from typing import Final

from rich.console import Console

from bot.chat.money import in_major
from bot.monitoring.logs import escaped
from payments.audit.shown import cut

# A charge id is longer than a line, and one that is broken in two cannot be copied.
CONSOLE: Final = Console(soft_wrap=True, highlight=False, markup=False)


VALUE_LENGTH_MAX: Final = 1024
"""Of a value that is printed: the longest charge id has so many characters, and is copied whole."""
CURRENCY_LENGTH_MAX: Final = 8
NAME_LENGTH_MAX: Final = 64


def money(amount: int, currency: str) -> str:
    """Return an amount in minor units (Stars: Stars) as its currency has it: 1 XTR, 4.99 USD, 700 JPY."""
    code = shown(currency, CURRENCY_LENGTH_MAX)
    return f"{in_major(amount, code)} {code}"


def shown(text: str | None, length_max: int = VALUE_LENGTH_MAX) -> str:
    """Return a value of somebody else's as it is printed: on its line, cut, and no order to the terminal."""
    return escaped(cut(text or "", length_max))


def minute(moment: datetime | None) -> str:
    """Return an aware moment in UTC to the minute; nothing for None."""
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""

"""How the operator's commands print."""

from datetime import datetime
from typing import Final

from rich.console import Console

from bot.money import in_major

# A charge id is longer than a line, and one that is broken in two cannot be copied.
CONSOLE: Final = Console(soft_wrap=True, highlight=False, markup=False)


def money(amount: int, currency: str) -> str:
    """Return an amount in minor units (Stars: Stars) as its currency has it: 1 XTR, 4.99 USD, 700 JPY."""
    return f"{in_major(amount, currency)} {currency}"


def minute(moment: datetime | None) -> str:
    """Return an aware moment in UTC to the minute; nothing for None."""
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""

"""How the operator's commands print."""

from datetime import datetime
from decimal import Decimal
from typing import Final

from babel.numbers import get_currency_precision
from rich.console import Console

from db.tables import STARS_CURRENCY

# A charge id is longer than a line, and one that is broken in two cannot be copied.
CONSOLE: Final = Console(soft_wrap=True, highlight=False, markup=False)


def money(amount: int, currency: str) -> str:
    """Return an amount in minor units (Stars: Stars) as its currency has it: 1 XTR, 4.99 USD, 700 JPY."""
    return f"{in_major(amount, currency)} {currency}"


def in_major(amount: int, currency: str) -> Decimal:
    """Return an amount in minor units (Stars: Stars) in whole ones, with the digits that its currency has."""
    digits = 0 if currency == STARS_CURRENCY else get_currency_precision(currency)
    return Decimal(amount).scaleb(-digits)


def minute(moment: datetime | None) -> str:
    """Return an aware moment in UTC to the minute; nothing for None."""
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""
